"""Decoding: every kind of picture becomes the right pixels, every broken file a reason."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.data import decoding
from pipeline.data.decoding import decode_bytes, decode_file
from pipeline.data.findings import NOTES
from pipeline.data.items import Rejected, Rule
from tests.unit.data.pictures import broken_files, encoded, pixels, png


def decode(image: Image.Image, kind: str = "PNG", size: int = 64, **options: object) -> NDArray[np.uint8]:
    return decode_bytes(encoded(image, kind, **options), Rule(size)).pixels


def test_picture_of_the_right_size_is_untouched() -> None:
    assert np.array_equal(decode_bytes(png(3), Rule(64)).pixels, pixels(3))


@pytest.mark.parametrize("name", broken_files())
def test_broken_file_is_rejected_with_its_reason(name: str, tmp_path: Path) -> None:
    data, reason = broken_files()[name]
    (tmp_path / name).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Rejected, match=reason) as rejected:
            decode_file(tmp_path / name, Rule(64))
    assert "\n" not in str(rejected.value)


def test_file_that_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be read: No such file"):
        decode_file(tmp_path / "gone.png", Rule(64))


def test_transparency_goes_on_white() -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:32, :, 3] = 255
    rgba[32:, :, 3] = 0
    decoded = decode(Image.fromarray(rgba))
    assert (decoded[:32] == (200, 0, 0)).all()
    assert (decoded[32:] == 255).all()


def test_transparent_palette_entry_goes_on_white() -> None:
    image = Image.new("P", (64, 64), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(0, (0, 0, 32, 64))
    decoded = decode(image, transparency=0)
    assert (decoded[:, :32] == 255).all()
    assert (decoded[:, 32:] == (40, 50, 60)).all()


def test_grey_and_bilevel_become_rgb() -> None:
    assert (decode(Image.new("L", (64, 64), 77)) == 77).all()
    assert (decode(Image.new("1", (64, 64), 1)) == 255).all()
    assert (decode(Image.new("LA", (64, 64), (77, 0))) == 255).all()


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (257, 1), (128 * 257, 128), (65535, 255)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(value: int, expected: int, kind: str) -> None:
    assert (decode(Image.fromarray(np.full((64, 64), value, np.uint16)), kind) == expected).all()


def test_cmyk_jpeg_becomes_rgb() -> None:
    decoded = decode(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG", quality=95)
    assert decoded.shape == (64, 64, 3)
    assert np.abs(decoded.astype(int) - (255, 0, 0)).max() <= 6


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side: to be turned by 90 degrees clockwise
    decoded = decode(Image.fromarray(pixels(5)), exif=exif)
    assert np.array_equal(decoded, np.rot90(pixels(5), k=-1))


@pytest.mark.parametrize("shape", [(64, 100), (100, 64), (64, 65)])
def test_crop_takes_the_centre(shape: tuple[int, int]) -> None:
    original = pixels(1, *shape)
    top, left = (shape[0] - 64) // 2, (shape[1] - 64) // 2
    assert np.array_equal(decode(Image.fromarray(original)), original[top : top + 64, left : left + 64])


def test_resize_is_antialiased_and_keeps_out_what_was_cropped() -> None:
    stripes = np.zeros((512, 1024, 3), np.uint8)
    stripes[::2, 256:768] = 255  # the square in the middle; bright beside it
    stripes[:, :256] = stripes[:, 768:] = 255
    decoded = decode(Image.fromarray(stripes))
    assert decoded.shape == (64, 64, 3)
    assert np.abs(decoded.astype(int) - 127).max() <= 8  # taking every eighth row gives 0 or 255
    assert (decoded == decoded[:, :1]).all()  # as far as the sides, where cropped white would shine through


def test_small_picture_is_enlarged() -> None:
    assert decode(Image.new("RGB", (3, 2), (9, 8, 7)), size=32).tolist() == np.full((32, 32, 3), (9, 8, 7)).tolist()


def test_picture_with_a_preview_behind_it_is_the_picture() -> None:
    preview = Image.new("RGB", (64, 64), "white")
    decoded = decode(Image.new("RGB", (64, 64), "black"), "MPO", save_all=True, append_images=[preview])
    assert (decoded == 0).all()


@pytest.mark.parametrize("quality", [5, 75, 100])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_jpeg_has_the_pixels_that_pillow_gives(
    quality: int, subsampling: str, progressive: bool, mode: str
) -> None:
    for seed, (height, width) in enumerate([(64, 64), (65, 31), (7, 9)]):
        image = Image.fromarray(pixels(seed, height, width)).convert(mode)
        data = encoded(image, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive)
        fast = decoding._decode_plain_jpeg(data)
        assert fast is not None
        slow = decoding._decode(data)
        assert np.array_equal(fast[0], slow[0])
        assert fast[1] == slow[1]


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_jpeg_fares_as_with_pillow_alone(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 3))
    damaged = bytearray(encoded(Image.fromarray(pixels(seed, 24, 24)), "JPEG", progressive=seed > 1))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    fast = decoding._decode_plain_jpeg(bytes(damaged))
    if fast is not None:
        assert np.array_equal(fast[0], decoding._decode(bytes(damaged))[0])


@pytest.mark.parametrize(
    ("image", "kind", "notes"),
    [
        (Image.new("RGB", (64, 64)), "PNG", ()),
        (Image.new("RGB", (64, 64)), "JPEG", ()),
        (Image.new("RGBA", (64, 64), (1, 2, 3, 255)), "PNG", ()),
        (Image.new("RGBA", (64, 64), (1, 2, 3, 254)), "PNG", ("transparent",)),
        (Image.new("CMYK", (64, 64)), "JPEG", ("CMYK",)),
        (Image.new("P", (64, 64)), "PNG", ("palette",)),
        (Image.new("L", (64, 64)), "JPEG", ("grey",)),
        (Image.new("I;16", (64, 64)), "PNG", ("16-bit", "grey")),
        (Image.new("RGB", (63, 64)), "PNG", ("enlarged",)),
        (Image.new("RGB", (64, 128)), "PNG", ()),
        (Image.new("RGB", (64, 129)), "PNG", ("elongated",)),
        (Image.new("L", (129, 60)), "PNG", ("grey", "enlarged", "elongated")),
    ],
)
def test_what_was_changed_is_noted(image: Image.Image, kind: str, notes: tuple[str, ...]) -> None:
    loaded = decode_bytes(encoded(image, kind), Rule(64))
    assert loaded.notes == notes
    assert set(notes) <= set(NOTES)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_turned_picture_is_noted(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_bytes(encoded(Image.fromarray(pixels(5)), kind, exif=exif), Rule(64)).notes == ("rotated",)
    exif[0x0112] = 1
    assert decode_bytes(encoded(Image.fromarray(pixels(5)), kind, exif=exif), Rule(64)).notes == ()


def test_16_bit_colour_is_noted() -> None:
    rows = b"".join(b"\0" + bytes(range(6)) * 64 for _ in range(64))
    header = struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    loaded = decode_bytes(data, Rule(64))
    assert loaded.notes == ("16-bit",)
    assert (loaded.pixels == (0, 2, 4)).all()


@pytest.mark.parametrize(("height", "width"), [(128, 64), (64, 128), (100, 33), (7, 300), (1, 500)])
def test_padding_keeps_the_whole_picture_between_white(height: int, width: int) -> None:
    picture = np.full((height, width, 3), 40, np.uint8)
    padded = decode_bytes(encoded(Image.fromarray(picture)), Rule(64, "pad")).pixels
    inside = (padded == 40).all(2)
    assert (padded[~inside] == 255).all()
    rows, columns = inside.any(1).sum(), inside.any(0).sum()
    assert (rows, columns) == tuple(max(1, round(side * 64 / max(height, width))) for side in (height, width))
    assert inside.sum() == rows * columns
    assert abs((inside.any(1)[:32].sum()) - (inside.any(1)[32:].sum())) <= 1
    assert abs((inside.any(0)[:32].sum()) - (inside.any(0)[32:].sum())) <= 1


WRITABLE = {
    "PNG": ("RGBA", "LA", "I;16", "P", "1"),
    "TIFF": ("RGBA", "LA", "CMYK", "I;16", "P", "1", "YCbCr", "LAB"),
    "WEBP": ("RGBA", "LA", "CMYK", "I;16", "P", "1", "YCbCr", "HSV"),
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in WRITABLE.items() for mode in modes])
def test_every_kind_and_mode_gives_canonical_pixels(kind: str, mode: str) -> None:
    decoded = decode(Image.new(mode, (70, 80)), kind, size=16)
    assert decoded.shape == (16, 16, 3)
    assert decoded.dtype == np.uint8
