"""The two halves of a dataset: one is the table's reference, the other is for the floor and for choices."""

from dataclasses import dataclass

import numpy as np

from gan.randomness import Stream, generator

SPLIT_SEED = 0


@dataclass(frozen=True)
class Halves:
    """Indices of the two halves of a dataset, each in random order: rows never share an image with the reference."""

    reference: np.ndarray
    held_out: np.ndarray


def split(num_images: int) -> Halves:
    """Return the halves of a dataset; they depend on the number of images alone, and their order is by content."""
    order = generator(SPLIT_SEED, Stream.SPLIT).permutation(num_images)
    return Halves(order[num_images // 2 :], order[: num_images // 2])
