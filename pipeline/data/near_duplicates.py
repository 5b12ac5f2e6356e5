"""Images that nearly equal each other: the same picture saved again, scaled, or a little retouched."""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.items import Pixels

SIDE = 8  # of a thumbnail
LENGTH = SIDE * SIDE * 3
MAX_RMS = 4.0  # levels, of 255: docs/data.md has what it finds and what it mistakes
NUM_TABLES = 6
MOST_NEIGHBOURS = 16  # compared with an image in each table: bounds the time where most images look alike
BLOCK = 1 << 13  # pairs or images that are looked at together

Pairs = NDArray[np.int64]


def thumbnail(pixels: Pixels) -> Pixels:
    """Return what near duplicates are told by: uint8 [LENGTH], the means of SIDE x SIDE tiles."""
    small = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small).reshape(LENGTH)


def near_duplicates(thumbnails: Pixels) -> Pairs:
    """Return [M, 2]: an image, and an earlier one that it nearly equals and that equals no earlier one itself.

    thumbnails: uint8 [N, LENGTH]. Nearly equal: the root mean square difference is at most MAX_RMS. Without the first
    column no two of the rest are nearly equal, as far as the search found: it compares images that fall into the same
    cell of one of several tables, whose keys are signs of projections on random directions, and finds nearly all
    (Charikar 2002, doi:10.1145/509907.509965). In integers throughout, so that every machine finds the same.
    """
    pairs = [np.stack(block, axis=1).astype(np.int32) for block in _near_pairs(thumbnails)]
    removed: dict[int, int] = {}
    for image, earlier in np.unique(np.concatenate([np.empty((0, 2), np.int32), *pairs]), axis=0).tolist():
        if earlier not in removed:
            removed.setdefault(image, earlier)
    return np.array(list(removed.items()), np.int64).reshape(-1, 2)


def _near_pairs(thumbnails: Pixels) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give the pairs (later image, earlier image) that are near, table by table."""
    num_bits = 0 if len(thumbnails) <= MOST_NEIGHBOURS else len(thumbnails).bit_length() + 4  # 0: all with all
    centre = (2 * thumbnails.sum(0, dtype=np.int64) + len(thumbnails)) // max(1, 2 * len(thumbnails))
    for table in range(NUM_TABLES):
        keys, within = _keys(thumbnails, centre, _directions(table, num_bits + 1))
        order = np.lexsort((within, keys))
        for offset in range(1, min(MOST_NEIGHBOURS, len(order) - 1) + 1):
            places = np.flatnonzero(keys[order[offset:]] == keys[order[:-offset]])
            if not len(places):
                break
            for start in range(0, len(places), BLOCK):
                block = places[start : start + BLOCK]
                pairs = np.sort(np.stack([order[block], order[block + offset]]), axis=0)
                earlier, later = pairs[:, _are_near(thumbnails, *pairs)]
                yield later, earlier


def _are_near(thumbnails: Pixels, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
    differences = thumbnails[left].astype(np.int16) - thumbnails[right]
    squares = np.einsum("ij,ij->i", differences, differences, dtype=np.int64)
    near: NDArray[np.bool_] = squares <= MAX_RMS**2 * LENGTH
    return near


def _keys(
    thumbnails: Pixels, centre: NDArray[np.int64], directions: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the cell of each thumbnail, the signs of all projections but the last, and that last one.

    Projections are whole numbers below 2**24, exact in float32.
    """
    cells, last = np.empty((2, len(thumbnails)), np.int32)
    powers = 1 << np.arange(directions.shape[1] - 1)
    for start in range(0, len(thumbnails), BLOCK):
        block = slice(start, start + BLOCK)
        products = (thumbnails[block] - centre).astype(np.float32) @ directions
        cells[block] = (products[:, :-1] > 0) @ powers
        last[block] = products[:, -1]
    return cells, last


def _directions(table: int, number: int) -> NDArray[np.float32]:
    """Return random directions of -1 and 1, [LENGTH, number], the same for ever."""
    bits = np.frombuffer(hashlib.shake_256(f"directions of table {table}".encode()).digest(LENGTH * number), np.uint8)
    return np.where(bits.reshape(LENGTH, number) & 1, np.float32(1), np.float32(-1))
