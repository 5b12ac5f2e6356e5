"""The two halves of the training images: one is the table's reference, the other is for the floor and for choices."""

from dataclasses import dataclass

import numpy as np

from gan.randomness import Stream, generator

SPLIT_SEED = 0


@dataclass(frozen=True)
class Halves:
    """Indices of the two halves, each in random order: what is chosen or measured by one never meets the other."""

    reference: np.ndarray
    other: np.ndarray


def split(num_images: int) -> Halves:
    """Return the halves of a dataset; they depend on the number of images alone, and their order is by content."""
    order = generator(SPLIT_SEED, Stream.SPLIT).permutation(num_images)
    return Halves(order[num_images // 2 :], order[: num_images // 2])
