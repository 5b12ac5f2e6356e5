"""Arrays: their shape says how they lie, their header is not believed, and nothing is ever unpickled."""

import io
import os
import pickle
import random
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan.errors import UserError
from pipeline.data.items import Rejected, Rule
from pipeline.data.sources import open_source
from tests.unit.data.pictures import pixels
from tests.unit.data.sources import RULE, found, items, loaded, peak_of, rejection

IMAGES = np.stack([pixels(index, 64, 48) for index in range(5)])  # [N, H, W, 3]
GREY = IMAGES[..., 0]


class Payload:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize(
    ("array", "notes"),
    [
        (IMAGES, ()),
        (IMAGES.transpose(0, 3, 1, 2).copy(), ()),
        (GREY, ("grey",)),
        (GREY[..., None], ("grey",)),
        (GREY[:, None], ("grey",)),
    ],
    ids=["NHW3", "N3HW", "NHW", "NHW1", "N1HW"],
)
def test_layouts(array: Any, notes: tuple[str, ...], prefix: bool, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", images=array)
    np.savez_compressed(tmp_path / "y.npz", array)
    expected = IMAGES if not notes else np.repeat(GREY[..., None], 3, axis=3)
    for name in ("x.npy", "x.npz", "y.npz"):
        spec = f"{name[2:]}:{tmp_path / name}" if prefix else tmp_path / name
        items = found(spec)
        assert len(items) == 5
        for item, image in zip(items, expected, strict=True):
            result = pickle.loads(pickle.dumps(item.load))(Rule(48))  # noqa: S301
            assert np.array_equal(result.pixels, image[8:56])  # the central square
            assert result.notes == notes


def test_names_and_cost(tmp_path: Path) -> None:
    np.save(tmp_path / "faces.npy", IMAGES)
    np.savez(tmp_path / "faces.npz", train=IMAGES, test=IMAGES[:2])
    first = found(tmp_path / "faces.npy")[0]
    assert (first.name, first.num_bytes) == ("faces.npy[0]", 0)
    assert len(pickle.dumps(first.load)) < 1000  # the pixels are read where they are loaded
    source = open_source(f"npz:{tmp_path / 'faces.npz'},key=test")
    assert source.default_name == "faces-test"
    assert [(item.name, item.num_bytes) for item in source.items()] == [
        ("faces.npz:test[0]", 64 * 48 * 3),
        ("faces.npz:test[1]", 64 * 48 * 3),
    ]


@pytest.mark.parametrize("shape", [(64, 64, 3), (2, 3, 8, 3), (2, 8, 8, 4), (2, 8, 8, 2), (64,), (), (2, 0, 8, 3)])
def test_shape_that_is_none_or_two_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError) as error:
        open_source(str(tmp_path / "x.npy"))
    assert str(list(shape)) in str(error.value)
    assert "[N, H, W, 3]" in str(error.value)


@pytest.mark.parametrize(
    ("array", "remedy"),
    [
        (IMAGES.astype(np.float32), "must be uint8, 0 to 255, got float32. Scale it"),
        (IMAGES.astype(np.int16), "got int16"),
        (np.asfortranarray(IMAGES), "numpy.ascontiguousarray"),
    ],
)
def test_other_numbers_are_refused_with_a_remedy(array: Any, remedy: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(UserError) as error:
        open_source(str(tmp_path / "x.npy"))
    assert remedy in str(error.value)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "pickle.npy"])
def test_pickles_never_run(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    array = np.array([Payload(mark)], dtype=object)
    if name == "x.npz":
        np.savez(tmp_path / name, allow_pickle=True, images=array)
    elif name == "x.npy":
        np.save(tmp_path / name, array, allow_pickle=True)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(UserError, match=r"never unpickled. Save uint8 pixels|is damaged: it has no header"):
        open_source(str(tmp_path / name))
    assert not mark.exists()
    np.load(tmp_path / "x.npy", allow_pickle=True) if name == "x.npy" else None
    assert mark.exists() == (name == "x.npy")  # the payload does work


def test_key_is_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=np.arange(5))
    for spec, problem in ((f"{tmp_path}/x.npz", "several arrays"), (f"npz:{tmp_path}/x.npz,key=a", "no array 'a'")):
        with pytest.raises(UserError, match=rf"holds {problem}. Give key=NAME, one of: images, labels"):
            open_source(spec)
    assert len(found(f"npz:{tmp_path}/x.npz,key=images")) == 5


def test_comma_in_a_path(tmp_path: Path) -> None:
    np.save(tmp_path / "a,b.npy", IMAGES)
    assert len(found(f"npy:{tmp_path}/a,b.npy")) == 5


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_file_shorter_than_it_claims(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(header((2**40, 64, 64, 3)) + bytes(100))
    with pytest.raises(UserError, match=r"its header claims .* bytes, 100 are there"):
        open_source(str(tmp_path / "x.npy"))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", header((2**40, 64, 64, 3)) + IMAGES.tobytes()[: 64 * 64 * 3])
    with pytest.raises(UserError, match="claims 1099511627776 images, 1 are there"):
        list(open_source(str(tmp_path / "x.npz")).items())


def test_file_that_shrinks_later_is_rejected_row_by_row(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    items = found(tmp_path / "x.npy")
    os.truncate(tmp_path / "x.npy", 128 + IMAGES[:2].nbytes)
    assert [rejection(item).kind for item in items[2:]] == ["damaged"] * 3
    assert loaded(items[1]).shape == (64, 64, 3)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_enormous_rows_are_rejected_unread(name: str, tmp_path: Path) -> None:
    shape = (2, 5_000, 5_000, 3)
    with (tmp_path / "x.npy").open("wb") as file:
        file.write(header(shape))
        file.truncate(128 + 2 * 5_000 * 5_000 * 3)
    if name == "x.npz":
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(tmp_path / "x.npy", "a.npy")
    grown, verdicts = peak_of(tmp_path / name)
    assert verdicts == ["too large", "too large", "2"]
    assert grown < 20


def test_big_npz_is_read_in_pieces(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", np.zeros((10_000, 64, 64, 3), np.uint8))  # 120 MB
    grown, verdicts = peak_of(tmp_path / "x.npz")
    assert verdicts == ["ok", "ok", "ok", "10000"]
    assert grown < 40


def test_damaged_npz_is_one_line(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", IMAGES)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[5000] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged: .*Download or save it again"):
        items(tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_damage_anywhere_is_a_verdict_or_one_line(name: str, tmp_path: Path) -> None:
    (np.save if name == "x.npy" else np.savez)(tmp_path / name, IMAGES[:2, :16, :16])
    original = (tmp_path / name).read_bytes()
    for seed in range(300):
        draw = random.Random(seed)  # noqa: S311
        content = bytearray(original)
        for _ in range(draw.choice([1, 3])):
            low = draw.choice([0, 0, len(content) - 150])
            content[draw.randrange(low, low + 150)] = draw.randrange(256)
        (tmp_path / name).write_bytes(content)
        with suppress(UserError):
            for item in open_source(str(tmp_path / name)).items():
                with suppress(Rejected):
                    item.load(RULE)
