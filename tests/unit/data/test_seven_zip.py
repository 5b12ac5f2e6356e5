"""7z files, written and read by py7zr: the same items as a folder, bounded memory, nothing on the disk."""

import random
import struct
import sys
import zlib
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import active_count
from typing import Any

import numpy as np
import pytest

from gan.errors import UserError
from pipeline.data.items import Rejected
from pipeline.data.sources import open_source
from tests.unit.data.pictures import Bytes, good_files, pixels, png, write_folder
from tests.unit.data.sources import RULE, contents, found, items, loaded, peak_of, rejection

py7zr = pytest.importorskip("py7zr")
MIB = 2**20


def write_7z(path: Path, files: Bytes, **options: Any) -> Path:
    with py7zr.SevenZipFile(path, "w", **options) as archive:
        if not options:
            archive.set_encoded_header_mode(False)
        for name, data in files.items():
            archive.writestr(data, name)
    return path


def change_header(path: Path, old: bytes, new: bytes) -> None:
    """Put other bytes into the header, and mend the checksums."""
    content = path.read_bytes()
    start = 32 + int.from_bytes(content[12:20], "little")
    assert old in content[start:]
    header = content[start:].replace(old, new, 1)
    fields = struct.pack("<QQL", start - 32, len(header), zlib.crc32(header))
    path.write_bytes(content[:8] + struct.pack("<L", zlib.crc32(fields)) + fields + content[32:start] + header)


def rename(path: Path, old: str, new: str) -> None:
    change_header(path, old.encode("utf-16-le"), new.encode("utf-16-le"))


def test_has_the_images_of_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", good_files())
    write_7z(tmp_path / "x.7z", good_files())
    assert list(items(tmp_path / "x.7z")) == list(good_files())
    assert contents(tmp_path / "x.7z") == contents(tmp_path / "folder")
    assert open_source(str(tmp_path / "x.7z")).default_name == "x"


@pytest.mark.parametrize(
    "method", [{"id": 0x21, "preset": 1}, {"id": py7zr.FILTER_BZIP2}, {"id": py7zr.FILTER_COPY}, {"id": 0x36}]
)
def test_methods_with_bounded_memory(method: Any, tmp_path: Path) -> None:
    if method["id"] == 0x36:
        method = {"id": py7zr.FILTER_PPMD, "order": 6, "mem": 24}
    write_7z(tmp_path / "x.7z", good_files(4), filters=[method])
    assert contents(tmp_path / "x.7z") == sorted(pixels(index).tobytes() for index in range(4))


@pytest.mark.parametrize("method", [py7zr.FILTER_DEFLATE, py7zr.FILTER_ZSTD, py7zr.FILTER_BROTLI])
def test_methods_without_are_refused(method: int, tmp_path: Path) -> None:
    write_7z(tmp_path / "x.7z", good_files(1), filters=[{"id": method, "level": 3}])
    with pytest.raises(UserError, match=r"memory cannot be bounded. Pack it again with LZMA2"):
        found(tmp_path / "x.7z")


LZMA2 = b"\x21\x21\x01"  # a method of one byte with properties; its number; one byte of them, which follows


@pytest.mark.parametrize("options", [{}, {"filters": [{"id": 0x21, "preset": 1}]}], ids=["content", "list of members"])
def test_enormous_dictionary_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    path = write_7z(tmp_path / "x.7z", good_files(1), **options)
    change_header(path, LZMA2 + b"\x18", LZMA2 + bytes([40]))  # 4 GiB
    with pytest.raises(UserError, match=r"needs more than 268,435,456 bytes of memory"):
        found(path)


def test_list_of_members_that_could_be_a_bomb_is_refused(tmp_path: Path) -> None:
    path = write_7z(tmp_path / "x.7z", good_files(1), filters=[{"id": 0x21, "preset": 1}])
    change_header(path, LZMA2 + b"\x18", b"\x24\x04\xf7\x11\x01\x05\x01\x05\x03\x00\x00")
    with pytest.raises(UserError, match=r"is compressed with Zstandard, whose memory cannot be bounded"):
        found(path)


def test_several_blocks(tmp_path: Path) -> None:
    write_7z(tmp_path / "x.7z", {"a.png": png(1), "empty.png": b""})
    with py7zr.SevenZipFile(tmp_path / "x.7z", "a") as archive:
        archive.writestr(png(2), "b.png")
    by_name = items(tmp_path / "x.7z")
    assert rejection(by_name.pop("empty.png")).kind == "empty"
    assert [loaded(item).tobytes() for item in by_name.values()] == [pixels(1).tobytes(), pixels(2).tobytes()]


@pytest.mark.parametrize("name", ["../../climbs.png", "/absolute/aa.png", "a\nb\x1b[2J-rf🦊.png"])
def test_names_do_not_matter(name: str, tmp_path: Path) -> None:
    place = tmp_path / "deep/place"
    place.mkdir(parents=True)
    plain = "x" * (len(name.encode("utf-16-le")) // 2)
    write_7z(place / "x.7z", {plain: png(1), "b.png": png(2)})
    rename(place / "x.7z", plain, name)
    found_items = found(place / "x.7z")
    assert [loaded(item).tobytes() for item in found_items] == [pixels(1).tobytes(), pixels(2).tobytes()]
    assert found_items[0].name == name.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.7z"]


def test_members_of_one_name_are_all_read(tmp_path: Path) -> None:
    write_7z(tmp_path / "x.7z", {"a.png": png(1), "b.png": png(2)})
    rename(tmp_path / "x.7z", "b.png", "a.png")
    assert contents(tmp_path / "x.7z") == sorted((pixels(1).tobytes(), pixels(2).tobytes()))


def test_links_and_archives_inside_are_rejected(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", {"a.png": png(1), "z.zip": b"x", ".hidden.png": png(2)})
    (tmp_path / "folder/link.png").symlink_to("a.png")
    with py7zr.SevenZipFile(tmp_path / "x.7z", "w") as archive:
        archive.writeall(tmp_path / "folder", "folder")
    by_name = items(tmp_path / "x.7z")
    assert rejection(by_name["folder/link.png"]).kind == "not a file"
    assert rejection(by_name["folder/z.zip"]).kind == "archive inside"
    assert np.array_equal(loaded(by_name["folder/a.png"]), pixels(1))
    assert len(by_name) == 3


@pytest.mark.slow
def test_bomb_is_passed_over_in_bounded_memory(tmp_path: Path) -> None:
    write_7z(tmp_path / "x.7z", {"bomb.png": bytes(600 * MIB), "a.png": png(1)}, filters=[{"id": 0x21, "preset": 0}])
    grown, verdicts = peak_of(tmp_path / "x.7z")
    assert verdicts == ["too large", "ok", "2"]
    assert grown < 560  # py7zr decompresses blocks of up to 128 MB and copies them, whatever the size of the member


def test_encrypted_members_are_rejected(tmp_path: Path) -> None:
    write_7z(tmp_path / "x.7z", good_files(3), password="secret")  # noqa: S106
    assert {rejection(item).reason for item in found(tmp_path / "x.7z")} == {"cannot be read: it is encrypted"}


def test_encrypted_names_are_refused(tmp_path: Path) -> None:
    write_7z(tmp_path / "x.7z", good_files(3), password="secret", header_encryption=True)  # noqa: S106
    with pytest.raises(UserError, match=r"is encrypted. Unpack it"):
        found(tmp_path / "x.7z")


def test_walk_that_is_given_up_leaves_no_thread(tmp_path: Path) -> None:
    write_7z(tmp_path / "x.7z", good_files(20))
    before = active_count()
    walk = open_source(str(tmp_path / "x.7z")).items()
    assert len(list(islice(walk, 3))) == 3
    walk.close()  # type: ignore[attr-defined]
    assert active_count() == before


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9])
def test_file_that_breaks_off_is_refused(share: float, tmp_path: Path) -> None:
    path = write_7z(tmp_path / "x.7z", good_files())
    path.write_bytes(path.read_bytes()[: max(6, int(path.stat().st_size * share))])
    with pytest.raises(UserError, match=r"cannot be read: .*Download or copy it again"):
        found(path)


@pytest.mark.parametrize("encoded", [True, False])
def test_damage_anywhere_is_a_verdict_or_one_line(encoded: bool, tmp_path: Path) -> None:
    options = {"filters": [{"id": 0x21, "preset": 0}]} if encoded else {}
    path = write_7z(tmp_path / "x.7z", good_files(3), **options)
    original = path.read_bytes()
    for seed in range(100):
        draw = random.Random(seed)  # noqa: S311
        content = bytearray(original)
        for _ in range(draw.choice([1, 3])):
            low = draw.choice([0, 0, len(content) - 300])
            content[draw.randrange(low, low + 300)] = draw.randrange(256)
        start = 32 + int.from_bytes(content[12:20], "little")
        header = content[start : start + int.from_bytes(content[20:28], "little")]
        if draw.random() < 0.7:  # past the checksums, to the parser
            content[28:32] = zlib.crc32(header).to_bytes(4, "little")
            content[8:12] = zlib.crc32(content[12:32]).to_bytes(4, "little")
        path.write_bytes(content)
        with suppress(UserError):
            for item in open_source(str(path)).items():
                with suppress(Rejected):
                    item.load(RULE)


def test_without_the_library_there_is_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_7z(tmp_path / "x.7z", good_files(1))
    monkeypatch.setitem(sys.modules, "py7zr", None)
    with pytest.raises(UserError, match=r"pip install 'gan-benchmark\[7z\]'` to read those, or unpack it"):
        found(path)
