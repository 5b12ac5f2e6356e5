"""Decoding: every kind of picture becomes the right pixels, every broken file a reason."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.decoding import decode_bytes, decode_file
from pipeline.data.items import Rejected
from tests.unit.data.pictures import broken_files, encoded, pixels, png


def decode(image: Image.Image, kind: str = "PNG", size: int = 64, **options: object) -> NDArray[np.uint8]:
    return decode_bytes(encoded(image, kind, **options), size)


def test_picture_of_the_right_size_is_untouched() -> None:
    assert np.array_equal(decode_bytes(png(3), 64), pixels(3))


@pytest.mark.parametrize("name", broken_files())
def test_broken_file_is_rejected_with_its_reason(name: str, tmp_path: Path) -> None:
    data, reason = broken_files()[name]
    (tmp_path / name).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Rejected, match=reason) as rejected:
            decode_file(tmp_path / name, 64)
    assert "\n" not in str(rejected.value)


def test_file_that_cannot_be_read_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be read: No such file"):
        decode_file(tmp_path / "gone.png", 64)


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
