"""Opening a dataset: read-only, checked against its manifest, and helpful when it is not there."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from gan.errors import UserError
from pipeline.data.dataset import contact_sheet, content_digest, load_dataset
from tests.unit.data.pictures import pixels

IMAGES = np.stack([pixels(k, 8, 8) for k in range(600)])


def set_manifest(folder: Path, **entries: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    np.save(folder / "images.npy", IMAGES)
    manifest = {"format": 1, "digest": content_digest(IMAGES), "num_images": 600, "image_size": 8, "request": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_images_are_a_read_only_memory_map(root: Path) -> None:
    dataset = load_dataset("faces", root)
    assert isinstance(dataset.images, np.memmap)
    assert np.array_equal(dataset.images, IMAGES)
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0] = 0


def test_digest_is_of_shape_and_pixels(root: Path) -> None:
    expected = hashlib.sha256(b"600,8,8,3\n" + IMAGES.tobytes()).hexdigest()
    assert content_digest(IMAGES) == expected == load_dataset("faces", root).digest
    assert content_digest(IMAGES.reshape(300, 16, 8, 3)) != expected


def test_missing_dataset_lists_the_others_and_the_command(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"'cats' is not prepared .*faces.*`pipeline prepare --source PATH --name cats`"
    ):
        load_dataset("cats", root)
    with pytest.raises(UserError, match=r"none is prepared there.*`pipeline prepare`"):
        load_dataset("avatars", root / "nowhere")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "images.npy").unlink(),
        lambda folder: (folder / "images.npy").write_bytes(b""),
        lambda folder: (folder / "images.npy").write_bytes((folder / "images.npy").read_bytes()[:-1]),
        lambda folder: np.save(folder / "images.npy", IMAGES[:-1]),
        lambda folder: np.save(folder / "images.npy", IMAGES.astype(np.float32)),
        lambda folder: np.save(folder / "images.npy", np.asfortranarray(IMAGES)),
        lambda folder: np.save(folder / "images.npy", np.array([{}, []], dtype=object), allow_pickle=True),
        lambda folder: np.savez((folder / "images.npy").open("wb"), images=IMAGES),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        lambda folder: (folder / "manifest.json").write_text('{"format": 1}'),
        lambda folder: set_manifest(folder, num_held_out=601),
        lambda folder: set_manifest(folder, num_held_out=-1),
        lambda folder: set_manifest(folder, num_held_out="1"),
    ],
)
def test_damage_is_found(damage, root: Path) -> None:  # type: ignore[no-untyped-def]
    damage(root / "faces")
    with pytest.raises(UserError, match=r"is damaged: .*prepare it again") as error:
        load_dataset("faces", root)
    assert "\n" not in str(error.value)


def test_later_format_is_refused(root: Path) -> None:
    path = root / "faces/manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match="format 2 is not the 1"):
        load_dataset("faces", root)


def test_contact_sheet_tiles_row_by_row() -> None:
    sheet = np.asarray(contact_sheet(IMAGES, columns=4, rows=3))
    assert sheet.shape == (24, 32, 3)
    for index in range(12):
        row, column = divmod(index, 4)
        assert np.array_equal(sheet[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8], IMAGES[index])


def test_contact_sheet_of_few_images_has_no_empty_rows() -> None:
    sheet = np.asarray(contact_sheet(IMAGES[:5], columns=4, rows=3))
    assert sheet.shape == (16, 32, 3)
    assert (sheet[8:, 8:] == 255).all()
    assert contact_sheet(IMAGES[:2]).size == (16, 8)
