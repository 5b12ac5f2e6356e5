"""Do generated images repeat training images? Three answers from nearest neighbours in a feature space."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.metrics.distances import Array, Estimate, check_features
from pipeline.metrics.manifold import CPU, nearest, neighbours


@dataclass(frozen=True)
class Pairs:
    """Pairs [P] of a generated and a training image, closest first; no image is in two pairs."""

    fake_indices: NDArray[np.int64]
    training_indices: NDArray[np.int64]
    distances: NDArray[np.float32]


def memorised(fake: Array, training: Array, held_out: Array, *, device: torch.device = CPU) -> Estimate:
    """Share of pairs of a generated and a held-out image in which the generated one is nearer to the training images.

    fake [N, D], training [M, D], held_out [H, D] of images that were never trained on. How near: the distance to the
    nearest training image; ties count half. 1 for copies, 0.5 for images that are as near as unseen real ones, less for
    images that are farther: generators that are not good enough to tell never look like copying ones.
    error: standard error over both sets. UserError: a feature is not finite, or a set is empty.
    Source: Meehan, Chaudhuri and Dasgupta 2020, section 3, arXiv:2004.05675; error: DeLong et al. 1988.
    """
    check_features({"fake": fake, "training": training, "held-out": held_out}, least=1)
    of_fake, of_held_out = (np.sort(nearest(images, training, device=device)[0]) for images in (fake, held_out))
    nearer = 1 - _share_below(of_fake, of_held_out)  # for each generated image: of the held-out ones
    farther = _share_below(of_held_out, of_fake)  # for each held-out image: of the generated ones
    return Estimate(float(nearer.mean()), float(np.sqrt(nearer.var() / len(fake) + farther.var() / len(held_out))))


def _share_below(values: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """For each value, the share of others (sorted) that are below it; equal ones count half."""
    sides = np.searchsorted(others, values, side="left") + np.searchsorted(others, values, side="right")
    shares: NDArray[np.float64] = sides / (2 * len(others))
    return shares


def authentic(fake: Array, training: Array, *, device: torch.device = CPU) -> Estimate:
    """Share of generated images that lie farther from their nearest training image than that one from its own nearest.

    fake [N, D], training [M, D], M at least 2. 0 for copies. error: binomial. UserError: a feature is not finite, or
    there are too few.
    Source: Alaa et al. 2022, section 4.2, arXiv:2102.08921.
    """
    check_features({"fake": fake}, least=1)
    check_features({"training": training}, least=2)
    distances, indices = nearest(fake, training, device=device)
    own_distances, _ = nearest(training, training, device=device, leave_out_self=True)
    return _share(distances > own_distances[indices])


def closest_pairs(fake: Array, training: Array, *, num: int = 16, device: torch.device = CPU) -> Pairs:
    """Find the pair of a generated and a training image that are closest, then the closest of the others, and so on.

    fake [N, D], training [M, D]; min(num, N, M) pairs. UserError: a feature is not finite, or a set is empty.
    """
    check_features({"fake": fake, "training": training}, least=1)
    num = min(num, len(fake), len(training))
    distances, indices = neighbours(fake, training, num=num, device=device)  # at most num - 1 of them are taken already
    pairs: dict[int, int] = {}  # training image: its place in the tables
    taken: set[int] = set()
    for place in np.argsort(distances, axis=None, kind="stable"):
        row, training_index = int(place) // num, int(indices.flat[place])
        if row not in taken and training_index not in pairs:
            taken.add(row)
            pairs[training_index] = int(place)
        if len(pairs) == num:
            break
    places = np.array(list(pairs.values()))
    return Pairs(places // num, indices.flat[places], distances.flat[places])


def _share(counted: NDArray[np.floating] | NDArray[np.bool]) -> Estimate:
    """Mean of numbers between 0 and 1, and the standard error of a binomial share."""
    share = float(counted.mean())
    return Estimate(share, float(np.sqrt(share * (1 - share) / len(counted))))
