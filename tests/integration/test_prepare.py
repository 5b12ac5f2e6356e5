"""The prepare stage as a user meets it: one dataset from any form of the same images, and no mess after accidents."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from gan.errors import UserError
from pipeline.data.dataset import content_digest, load_dataset
from pipeline.prepare import prepare
from tests.unit.data.pictures import broken_files, good_files, pixels, png, write_folder, write_tar, write_zip

RUN = """
import resource, sys
from pathlib import Path
from gan.errors import UserError
from pipeline.prepare import prepare
if int(sys.argv[4]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    prepare(num_images=int(sys.argv[2]), root=Path(sys.argv[1]), num_workers=int(sys.argv[3]))
except UserError as error:
    sys.exit(str(error))
"""


def start(root: Path, num_images: int, num_workers: int, max_file_bytes: int = 0) -> "subprocess.Popen[str]":
    arguments = [str(root), str(num_images), str(num_workers), str(max_file_bytes)]
    return subprocess.Popen([sys.executable, "-c", RUN, *arguments], stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def entries(root: Path) -> list[str]:
    """Everything in `root` except the lock, which is an empty file that stays."""
    return sorted(path.name for path in root.iterdir() if path.suffix != ".lock")


FORMS: dict[str, Callable[[Path], list[str]]] = {
    "folder": lambda place: [write_folder(place / "x", good_files(100))],
    "zip": lambda place: [write_zip(place / "x.zip", good_files(100))],
    "tar": lambda place: [write_tar(place / "x.tar", good_files(100))],
    "tar.gz": lambda place: [write_tar(place / "x.tar.gz", good_files(100))],
    "shards": lambda place: [
        write_tar(place / "two.tar", dict(list(good_files(100).items())[60:])),
        write_tar(place / "one.tar", dict(list(good_files(100).items())[:60])),
    ],
    "other names": lambda place: [
        write_zip(place / "x.zip", {f"z{99 - k}": data for k, data in enumerate(good_files(100).values())})
    ],
}


@pytest.mark.parametrize("num_images", [None, 30])
def test_form_of_the_source_does_not_matter(num_images: int | None, tmp_path: Path) -> None:
    digests = {}
    for form, make in FORMS.items():
        place = tmp_path / form
        place.mkdir()
        dataset = prepare(make(place), name="faces", num_images=num_images, root=place / "data", num_workers=1)
        digests[form] = dataset.digest
        assert dataset.images.shape == (num_images or 100, 64, 64, 3)
        assert content_digest(dataset.images) == dataset.digest
    assert len(set(digests.values())) == 1, digests


def test_pixels_are_those_of_the_files_and_a_smaller_request_is_a_beginning(tmp_path: Path) -> None:
    source = FORMS["folder"](tmp_path)
    everything = prepare(source, name="all", root=tmp_path / "data", num_workers=1)
    some = prepare(source, name="some", num_images=30, root=tmp_path / "data", num_workers=1)
    assert {image.tobytes() for image in everything.images} == {pixels(k).tobytes() for k in range(100)}
    assert np.array_equal(some.images, everything.images[:30])
    assert some.manifest["counts"] == {
        "read": 100,
        "kept": 30,
        "rejected": 0,
        "duplicates": 0,
        "near_duplicates": 0,
        "left_out": 70,
    }


def test_number_of_workers_does_not_matter(tmp_path: Path) -> None:
    digests = {prepare(num_images=70, root=tmp_path / str(n), num_workers=n).digest for n in (1, 2)}
    assert len(digests) == 1
    files = write_folder(tmp_path / "x", {**good_files(80), **{k: v[0] for k, v in broken_files().items()}})
    both = [prepare([files], name="faces", root=tmp_path / str(n), num_workers=n) for n in (1, 2)]
    assert both[0].manifest == both[1].manifest


def test_broken_files_are_rejected_counted_and_explained(tmp_path: Path) -> None:
    broken = broken_files()
    files = {**good_files(5), "copy.png": png(0), **{name: data for name, (data, _) in broken.items()}}
    dataset = prepare([write_folder(tmp_path / "my faces!", files)], root=tmp_path / "data", num_workers=1)
    manifest = json.loads((dataset.directory / "manifest.json").read_text())
    assert dataset.name == "my-faces"
    assert len(dataset.images) == manifest["num_images"] == 5
    counts = {"read": 6 + len(broken), "kept": 5, "rejected": len(broken), "duplicates": 1, "left_out": 0}
    counts["near_duplicates"] = 0
    assert manifest["counts"] == counts
    assert {key: manifest["sources"][0][key] for key in counts} == counts
    files = json.loads((dataset.directory / "findings.json").read_text())["files"]
    reasons = {entry["name"]: entry["reason"] for entry in files if entry["effect"] == "rejected"}
    assert reasons.keys() == broken.keys()
    assert all(part in reasons[name] for name, (_, part) in broken.items())
    assert entries(dataset.directory) == ["contact_sheet.png", "findings.json", "images.npy", "manifest.json"]


def test_avatars_carry_their_attribution(tmp_path: Path) -> None:
    dataset = prepare(num_images=20, root=tmp_path, num_workers=1)
    (source,) = dataset.manifest["sources"]
    assert dataset.name == "avatars"
    assert source["licence"] == "CC BY 4.0"
    assert "Lisa Wischofsky" in source["attribution"]
    assert Image.open(dataset.directory / "contact_sheet.png").size == (16 * 64, 2 * 64)
    assert dataset.manifest["versions"]["pillow"]


def test_second_run_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = FORMS["shards"](tmp_path)
    first = prepare(source, name="faces", root=tmp_path / "data", num_workers=1)
    before = {path: path.stat().st_mtime_ns for path in first.directory.iterdir()}
    capsys.readouterr()
    again = prepare(list(reversed(source)), name="faces", root=tmp_path / "data")
    assert again.digest == first.digest
    assert {path: path.stat().st_mtime_ns for path in first.directory.iterdir()} == before
    assert "already prepared" in capsys.readouterr().err


def test_other_settings_or_input_under_the_same_name_are_refused(tmp_path: Path) -> None:
    (folder,) = FORMS["folder"](tmp_path)
    root = tmp_path / "data"
    prepare([folder], num_images=10, root=root, num_workers=1)
    with pytest.raises(UserError, match=r"num_images 10, asked for 20.*another --name, or delete"):
        prepare([folder], num_images=20, root=root)
    with pytest.raises(UserError, match=r"num_images 10, asked for all; image_size 64, asked for 32"):
        prepare([folder], image_size=32, root=root)
    with pytest.raises(UserError, match=r"source .*x, asked for avatars"):
        prepare(name="x", num_images=10, root=root)
    Path(folder, "more.png").write_bytes(png(1000))
    with pytest.raises(UserError, match=r"source .*x has changed since"):
        prepare([folder], num_images=10, root=root)
    assert len(load_dataset("x", root).images) == 10


def test_held_out_images_are_the_last_by_content_and_part_of_the_digest(tmp_path: Path) -> None:
    (folder,) = FORMS["folder"](tmp_path)
    whole = prepare([folder], name="whole", root=tmp_path / "data", num_workers=1)
    apart = prepare([folder], name="apart", held_out=30, root=tmp_path / "data", num_workers=1)
    assert np.array_equal(np.concatenate([apart.images, apart.held_out]), whole.images)
    assert (len(apart.images), len(apart.held_out), len(whole.held_out)) == (70, 30, 0)
    other = prepare([folder], name="other", held_out=31, root=tmp_path / "data", num_workers=1)
    assert len({whole.digest, apart.digest, other.digest}) == 3
    with pytest.raises(UserError, match="held_out 30, asked for 0"):
        prepare([folder], name="apart", root=tmp_path / "data")
    assert prepare([folder], name="apart", held_out=30, root=tmp_path / "data").digest == apart.digest


def test_folder_that_is_no_dataset_is_not_touched(tmp_path: Path) -> None:
    write_folder(tmp_path / "avatars", {"thesis.txt": b"x"})
    with pytest.raises(UserError, match="exists but is no dataset"):
        prepare(num_images=1, root=tmp_path)
    assert (tmp_path / "avatars/thesis.txt").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": []}, "--source: none given"),
        ({"sources": ["missing"]}, "--source: 'missing' does not exist"),
        ({"sources": ["faces", "avatars"], "name": "x"}, "--source: 'avatars' is drawn without end"),
        ({"sources": ["faces", "faces"]}, "--name: is needed"),
        ({"sources": ["faces"], "num_images": 500}, "--num-images: the source has 3 distinct images, asked for 500"),
        (
            {"sources": ["texts"]},
            "--source: no image is left of 5 files: 5 rejected .a.txt: not an image; b.txt: .*[.]{3}",
        ),
        ({"sources": ["nothing"]}, "--source: no image is left of 0 files[.]"),
        ({"name": "../escape"}, "--name: must be letters"),
        ({"name": ".hidden"}, "--name: must be letters"),
        ({"name": "line\n"}, "--name: must be letters"),
        ({"name": ""}, "--name: must be letters"),
        ({"num_images": 0}, "--num-images: must be 1 or more, got 0"),
        ({"image_size": 4}, "--image-size: must be from 8 to 1024 pixels, got 4"),
        (
            {"sources": ["faces"], "held_out": 2},
            "--held-out: must leave at least 2 of the 3 images for training, got 2",
        ),
        ({"num_images": 9, "held_out": 8}, "--held-out: must be 0 or more and leave 2 of the 9 images .*, got 8"),
        ({"num_workers": 0}, "--num-workers: must be 1 or more, got 0"),
    ],
)
def test_mistakes_are_explained_and_leave_nothing(
    arguments: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("faces"), good_files(3))
    write_folder(Path("texts"), {f"{letter}.txt": b"text" for letter in "abcde"})
    Path("nothing").mkdir()
    root = Path("data")
    root.mkdir()
    with pytest.raises(UserError, match=message):
        prepare(**{"root": root, "progress": False, **arguments})  # type: ignore[arg-type]
    assert entries(root) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_run_leaves_nothing_half_made(how: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path, num_images=20_000, num_workers=2)
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob(".*/decoded.bin")))
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert [name for name in entries(tmp_path) if not name.startswith(".")] == []
    if how == signal.SIGINT:
        assert entries(tmp_path) == []
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == [], "workers outlived their parent"
    assert len(prepare(num_images=10, root=tmp_path, num_workers=1).images) == 10
    assert entries(tmp_path) == ["avatars"]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_full_disk_is_explained_and_leaves_nothing(num_workers: int, tmp_path: Path) -> None:
    process = start(tmp_path, num_images=70, num_workers=num_workers, max_file_bytes=500_000)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "File too large; raise the limit" in errors
    assert "Traceback" not in errors
    assert entries(tmp_path) == []


def test_two_processes_make_one_dataset(tmp_path: Path) -> None:
    processes = [start(tmp_path, num_images=100, num_workers=1) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert sum("already prepared" in text for text in errors) == 1
    assert entries(tmp_path) == ["avatars"]


@pytest.mark.slow
@pytest.mark.skipif("GAN_SHARED_DATA" not in os.environ, reason="GAN_SHARED_DATA names no folder of real faces")
def test_faces_of_the_reports_are_all_used(tmp_path: Path) -> None:
    shards = sorted(Path(os.environ["GAN_SHARED_DATA"], "data", "anime-faces").glob("*.tar"))
    dataset = prepare([str(shard) for shard in shards], name="anime-faces", root=tmp_path)
    assert dataset.images.shape == (51_223, 64, 64, 3)
    counts = {"read": 51_223, "kept": 51_223, "rejected": 0, "duplicates": 0, "near_duplicates": 0, "left_out": 0}
    assert dataset.manifest["counts"] == counts
    assert dataset.manifest["findings"] == {"near duplicate": 270}
