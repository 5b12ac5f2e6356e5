"""Folders: links and loops are safe, names may be anything, and their number costs no memory."""

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.sources import open_source
from tests.unit.data.pictures import good_files, pixels, png, write_folder
from tests.unit.data.sources import found, items, loaded, rejection

STRANGE = {"a\nb.png": "a\\nb.png", "-rf.png": "-rf.png", "🦊.png": "🦊.png", "a\u202egnp.exe": "a\\u202egnp.exe"}


def test_links(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(tmp_path / "elsewhere", {"a.png": png(1)})
    write_folder(folder, {"b.png": png(2), "shard.tar": b"x"})
    (folder / "file").symlink_to(tmp_path / "elsewhere/a.png")
    (folder / "loop").symlink_to(folder)
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    by_name = items(folder)
    assert list(by_name) == ["b.png", "broken", "circle", "file", "loop", "pipe", "shard.tar"]
    assert np.array_equal(loaded(by_name["file"]), pixels(1))
    kinds = {name: rejection(by_name[name]).kind for name in by_name if name not in ("b.png", "file")}
    assert kinds == {
        "broken": "unreadable",
        "circle": "unreadable",
        "loop": "not a file",
        "pipe": "not a file",
        "shard.tar": "archive inside",
    }


def test_names_are_shown_printable_and_read_as_they_are(tmp_path: Path) -> None:
    write_folder(tmp_path, {name: png(index) for index, name in enumerate(STRANGE)})
    by_name = items(tmp_path)
    assert by_name.keys() == set(STRANGE.values())
    for index, shown in enumerate(STRANGE.values()):
        assert np.array_equal(loaded(by_name[shown]), pixels(index))


def test_name_that_is_no_utf8(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")).write_bytes(png(1))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    by_name = items(tmp_path)
    assert np.array_equal(loaded(by_name["\\udcff\\udcfe.png"]), pixels(1))


def test_order_is_that_of_full_names(tmp_path: Path) -> None:
    names = ["a/b.png", "a-b.png", "a.png", "B/z.png", "ä.png", "a/b/c.png", "z.png", "İ.png", "i.png", "I.png"]
    write_folder(tmp_path, dict.fromkeys(names, b"x"))
    assert list(items(tmp_path)) == sorted(names, key=str.encode)


@pytest.mark.parametrize("locale", ["C", "POSIX", "tr_TR.UTF-8", "en_US.ISO-8859-1"])
def test_locale_changes_nothing(locale: str, tmp_path: Path) -> None:
    write_folder(tmp_path, {name: png(index) for index, name in enumerate(["ä.png", "I.png", "\u0131.png", *STRANGE])})
    code = (
        "import sys; from pipeline.data.sources import open_source; source = open_source(sys.argv[1]); "
        "print(ascii((dict(source.fingerprint), [item.name for item in source.items()])))"
    )
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    source = open_source(str(tmp_path))
    assert answer.strip() == ascii((dict(source.fingerprint), [item.name for item in source.items()]))


def test_depth_is_not_limited_by_recursion(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(1500):  # deeper than Python recurses, shallower than paths can be
        folder = folder / "d"
        folder.mkdir()
    (folder / "a.png").write_bytes(png(1))
    try:
        (item,) = found(tmp_path)
        assert np.array_equal(loaded(item), pixels(1))
        assert len(item.name) <= 300
    finally:  # shutil.rmtree would recurse
        (folder / "a.png").unlink()
        while folder != tmp_path:
            folder.rmdir()
            folder = folder.parent


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    def peak(num_folders: int) -> int:
        folder = tmp_path / str(num_folders)
        write_folder(folder, {f"{index // 100:04d}/{index:06d}.png": b"" for index in range(100 * num_folders)})
        tracemalloc.start()
        source = open_source(str(folder))
        assert sum(1 for _ in source.items()) == num_folders * 100
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(50)  # tables of Python's own grow once
    few, many = peak(5), min(peak(50) for _ in range(3))  # threads of other tests may allocate meanwhile
    assert many < few + 100_000  # bytes: for 4,500 more files


def test_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write_folder(folder, good_files())
    before = open_source(str(folder)).fingerprint
    folder.rename(tmp_path / "moved")
    assert open_source(str(tmp_path / "moved")).fingerprint == before
    (tmp_path / "moved/a/0000.png").write_bytes(png(99))
    assert open_source(str(tmp_path / "moved")).fingerprint != before
