"""Whatever form the same images come in, the dataset is the same, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gan.errors import UserError
from pipeline.prepare import prepare
from tests.unit.data.pictures import Bytes, good_files, pixels, png, write_folder, write_tar, write_zip

COUNT = 70  # enough that several processes load them
FILES = good_files(COUNT)
ARRAY = np.stack([pixels(index) for index in range(COUNT)])


def write_7z(path: Path, files: Bytes) -> str:
    py7zr = pytest.importorskip("py7zr")
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(data, name)
    return str(path)


def write_parquet(path: Path, files: Bytes) -> str:
    datasets = pytest.importorskip("datasets")
    cells = {"image": [{"bytes": data, "path": None} for data in files.values()]}
    rows = datasets.Dataset.from_dict(cells, features=datasets.Features({"image": datasets.Image()}))
    rows.to_parquet(path)
    return f"hf:{path}"


def write_npy(path: Path) -> str:
    np.save(path, ARRAY)
    return f"npy:{path}"


def write_npz(path: Path) -> str:
    np.savez_compressed(path, images=ARRAY.transpose(0, 3, 1, 2).copy(), labels=np.zeros(COUNT, np.uint8))
    return f"npz:{path},key=images"


FORMS: dict[str, Callable[[Path], str]] = {
    "x.zip": lambda path: write_zip(path, FILES),
    "x.tar": lambda path: write_tar(path, FILES),
    "x.tar.gz": lambda path: write_tar(path, FILES),
    "x.tar.xz": lambda path: write_tar(path, FILES),
    "x.7z": lambda path: write_7z(path, FILES),
    "x.npy": write_npy,
    "x.npz": write_npz,
    "x.parquet": lambda path: write_parquet(path, FILES),
}


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the dataset made from a folder, in this process alone."""
    place = tmp_path_factory.mktemp("folder")
    source = write_folder(place / "images", FILES)
    return prepare([source], name="x", root=place, num_workers=1, progress=False).digest


@pytest.mark.parametrize("form", FORMS)
def test_same_images_are_the_same_dataset(
    form: str, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = FORMS[form](tmp_path / form)
    dataset = prepare([source], name="x", root=tmp_path / "data", num_workers=2, progress=False)
    assert dataset.digest == digest
    assert dataset.manifest["counts"]["kept"] == COUNT
    assert prepare([source], name="x", root=tmp_path / "data", progress=False).digest == digest  # nothing to do


def test_kinds_mix(digest: str, tmp_path: Path) -> None:
    names = list(FILES)
    parts = [{name: FILES[name] for name in names[start : start + 40]} for start in (0, 10, 30)]
    np.save(tmp_path / "c.npy", ARRAY[60:])
    sources = [
        write_folder(tmp_path / "a", parts[0]),
        write_zip(tmp_path / "b.zip", parts[1]),
        write_7z(tmp_path / "d.7z", parts[2]),
        f"npy:{tmp_path / 'c.npy'}",
    ]
    dataset = prepare(sources, name="x", root=tmp_path / "data", num_workers=2, progress=False)
    assert dataset.digest == digest
    assert dataset.manifest["counts"]["duplicates"] == 40 + 40 + 40 + 10 - COUNT
    assert [each["kind"] for each in dataset.manifest["sources"]] == ["folder", "archive", "archive", "array"]


def test_hostile_names_come_through(tmp_path: Path) -> None:
    names = ["../../climbs.png", "/absolute.png", "-rf", "a\nb", "🦊\u202e.png", "n" * 10_000]
    source = write_tar(tmp_path / "x.tar", {name: png(index) for index, name in enumerate([*names, "z.png"])})
    bad = write_zip(tmp_path / "x.zip", {f"{name}.txt": b"no image" for name in names})
    dataset = prepare([source, bad], name="x", root=tmp_path / "data", progress=False)
    assert dataset.manifest["counts"]["kept"] == len(names) + 1
    assert dataset.manifest["counts"]["rejected"] == len(names)
    made = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert made == {"x.tar", "x.zip", "data"}


def test_archive_that_breaks_off_leaves_no_dataset(tmp_path: Path) -> None:
    source = Path(write_tar(tmp_path / "x.tar", FILES))
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(UserError, match="breaks off"):
        prepare([str(source)], root=tmp_path / "data", num_workers=2, progress=False)
    assert not list((tmp_path / "data").glob("[!.]*"))
