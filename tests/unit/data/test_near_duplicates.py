"""Near duplicates: found as by comparing all pairs, and what remains has none."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline.data.items import Pixels
from pipeline.data.near_duplicates import LENGTH, MAX_RMS, near_duplicates, thumbnail


def smooth(seed: int) -> Image.Image:
    """Return a picture of 64 x 64 pixels with large shapes, as photographs have them."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)


def thumbnails(*images: Image.Image) -> Pixels:
    return np.stack([thumbnail(np.asarray(image)) for image in images])


def clusters(seed: int, number: int, spread: float) -> Pixels:
    """Return thumbnails in groups of three that differ by normal noise of this standard deviation."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(128, 50, (number, 1, LENGTH))
    members = centres + rng.normal(0, spread, (number, 3, LENGTH))
    return rng.permutation(np.clip(members, 0, 255).astype(np.uint8).reshape(-1, LENGTH))


def all_near_pairs(images: Pixels) -> set[tuple[int, int]]:
    differences = images[:, None].astype(float) - images[None].astype(float)
    near = np.sqrt((differences**2).mean(2)) <= MAX_RMS
    return {(int(i), int(j)) for i, j in np.argwhere(near) if i < j}


@pytest.mark.parametrize("spread", [0.5, 1.5, 2.6, 2.9, 3.5])
def test_what_remains_has_no_near_duplicates_and_what_goes_has_one(spread: float) -> None:
    images = clusters(int(10 * spread), 120, spread)
    pairs = all_near_pairs(images)
    found = near_duplicates(images)
    removed = set(found[:, 0].tolist())
    assert {(kept, image) for image, kept in found.tolist()} <= pairs
    assert not removed & set(found[:, 1].tolist())
    assert not {pair for pair in pairs if not removed & set(pair)}
    assert (len(removed) == 240) == (spread < 2.5)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: _jpeg(image, 50),
        lambda image: image.resize((48, 48), Image.Resampling.BICUBIC).resize((64, 64), Image.Resampling.BICUBIC),
        lambda image: image.filter(ImageFilter.GaussianBlur(1)),
        lambda image: image.point(lambda level: min(255, level + 3)),
    ],
    ids=["JPEG of quality 50", "scaled to 48 and back", "blurred by one pixel", "brighter by 3 levels"],
)
def test_saved_again_is_a_near_duplicate(change) -> None:  # type: ignore[no-untyped-def]
    originals = [smooth(seed) for seed in range(40)]
    found = near_duplicates(thumbnails(*originals, *(change(image) for image in originals)))
    assert found.tolist() == [[40 + k, k] for k in range(40)]


def test_other_pictures_are_not() -> None:
    originals = [smooth(seed) for seed in range(200)]
    mirrored = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in originals]
    assert len(near_duplicates(thumbnails(*originals, *mirrored))) == 0


def test_a_chain_is_not_one_group() -> None:
    """B is near A and C is near B, but C is not near A: A and C stay."""
    levels = np.full((3, LENGTH), 100, np.uint8)
    levels[1] += 3
    levels[2] += 6
    assert near_duplicates(levels).tolist() == [[1, 0]]


def test_many_alike_do_not_take_for_ever() -> None:
    rng = np.random.default_rng(0)
    alike = (128 + rng.integers(0, 2, (6000, LENGTH))).astype(np.uint8)
    found = near_duplicates(alike)
    assert len(alike) - len(found) < 3000  # not all are found, where each is compared with some only


@pytest.mark.parametrize("number", [0, 1])
def test_none_without_two_images(number: int) -> None:
    assert near_duplicates(np.zeros((number, LENGTH), np.uint8)).shape == (0, 2)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)
