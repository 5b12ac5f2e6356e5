"""Counter-based randomness: every draw is a function of (seed, stream, index), so nothing needs to be remembered.

Philox (Salmon et al. 2011) has the seed and the stream as its key and the index as the high word of its counter:
streams never overlap, and the numbers are the same on every device.
"""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Stream(IntEnum):
    """What a draw is for. The numbers are part of every published result: never change or reuse one."""

    WEIGHTS = 0
    ORDER = 1
    LATENTS = 2
    FRESH_LATENTS = 3
    NOISE = 4
    SAMPLES = 5
    SPLIT = 6
    PENALTY = 7
    CORRUPTION = 8


def generator(seed: int, stream: Stream, index: int = 0) -> np.random.Generator:
    """Return numpy's generator for draw `index` >= 0 of a stream."""
    return np.random.Generator(np.random.Philox(key=[seed, int(stream)], counter=[0, 0, 0, index]))


def torch_seed(seed: int, stream: Stream, index: int = 0) -> int:
    """Return a seed for torch's own generators, for draws that only torch can make (initialisation, dropout)."""
    return int(generator(seed, stream, index).integers(2**63))


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """Return a permutation [num_images] of the images for epoch 0, 1, ..."""
    return generator(seed, Stream.ORDER, epoch).permutation(num_images)


def step_latents(seed: int, stream: Stream, step: int, batch_size: int, latent_size: int) -> Tensor:
    """Return z ~ N(0, 1), float32 [batch_size, latent_size], of one training step."""
    return torch.from_numpy(generator(seed, stream, step).standard_normal((batch_size, latent_size), dtype=np.float32))


def step_uniform(seed: int, step: int, batch_size: int) -> Tensor:
    """Return numbers in [0, 1), float32 [batch_size], for the gradient penalty of one training step."""
    return torch.from_numpy(generator(seed, Stream.PENALTY, step).random(batch_size, dtype=np.float32))


def sample_latents(seed: int, indices: Sequence[int], latent_size: int) -> Tensor:
    """Return z ~ N(0, 1), float32 [len(indices), latent_size]; row i depends on (seed, indices[i]) alone."""
    rows = [generator(seed, Stream.SAMPLES, i).standard_normal(latent_size, dtype=np.float32) for i in indices]
    return torch.from_numpy(np.stack(rows))
