"""Nearest neighbours of features, and what they say of two sets: precision, recall, density and coverage."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan.precision import exact_float32
from pipeline.metrics.distances import Array, Estimate, check_features

BLOCK_SIZE = 2**23  # distances at once: 32 MiB
ROUNDING = 1e-5  # of a squared norm: a squared distance below it is rounding (up to 3e-6 was seen) and counts as 0
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Manifold:
    """How far two sets cover each other; each error is the standard error of a mean over images.

    precision: share of fake images within the real set's k-nearest-neighbour balls; recall: share of real images within
    the fake set's. density: how many real balls a fake image lies in, divided by k; 1 for equal distributions, more is
    possible. coverage: share of real images with a fake image in their ball.
    """

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def manifold(
    real: Array, fake: Array, *, k_precision: int = 3, k_density: int = 5, device: torch.device = CPU
) -> Manifold:
    """Improved precision and recall with k_precision neighbours, density and coverage with k_density.

    real [N, D], fake [M, D], compared in float32 on the device. A ball reaches to the k-th
    nearest other image of its own set; its edge is inside for precision and recall, outside for density and coverage,
    as in the authors' programs. The errors leave out that the balls, too, are a sample. UserError: a feature is not
    finite, or a set has no more images than neighbours.
    Source: Kynkaanniemi et al. 2019, eq. 1 to 3, arXiv:1904.06991; Naeem et al. 2020, eq. 3 and 4, arXiv:2002.09797.
    """
    most = max(k_precision, k_density)
    check_features({"real": real, "fake": fake}, least=most + 1)
    origin = _mean_of(real)
    x, y = _move(real, origin, device), _move(fake, origin, device)
    inside_real = torch.zeros(len(y), dtype=torch.bool, device=x.device)
    num_balls = torch.zeros(len(y), dtype=torch.int64, device=x.device)
    inside_fake, covered = (torch.zeros(len(x), dtype=torch.bool, device=x.device) for _ in range(2))
    with exact_float32():
        radii = _closest(x, x, most, leave_out_self=True)[0]
        edges, strict_edges = radii[:, k_precision - 1, None], radii[:, k_density - 1, None]
        fake_edges = _closest(y, y, k_precision, leave_out_self=True)[0][:, -1]
        for rows, squared in _squared_distances(x, y):
            inside_real |= (squared <= edges[rows]).any(dim=0)
            inside_fake[rows] = (squared <= fake_edges).any(dim=1)
            inside = squared < strict_edges[rows]
            num_balls += inside.sum(dim=0, dtype=torch.int32)  # twice as fast as in int64
            covered[rows] = inside.any(dim=1)
    return Manifold(_mean(inside_real), _mean(inside_fake), _mean(num_balls / k_density), _mean(covered))


def nearest(
    queries: Array, references: Array, *, device: torch.device = CPU, leave_out_self: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the distance [N] from each query [N, D] to the nearest reference [M, D], and the index [N] of that."""
    distances, indices = neighbours(queries, references, num=1, device=device, leave_out_self=leave_out_self)
    return distances[:, 0], indices[:, 0]


def neighbours(
    queries: Array,
    references: Array,
    *,
    num: int,
    device: torch.device = CPU,
    leave_out_self: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the distances [N, num] from queries [N, D] to the nearest references [M, D], ascending, and the indices.

    They are chosen by products in float32 and then measured by differences: exactly 0 for a copy. leave_out_self: the
    queries are the references, and a row is no neighbour of itself.
    """
    if leave_out_self and queries.shape != references.shape:
        raise ValueError(f"leave_out_self is for one set, got {queries.shape} and {references.shape}")
    origin = _mean_of(references)
    x, y = _move(queries, origin, device), _move(references, origin, device)
    with exact_float32():
        _, indices = _closest(x, y, num, leave_out_self=leave_out_self)
    distances = torch.empty(indices.shape, dtype=torch.float32, device=x.device)
    for rows in _blocks(len(x), num * x.shape[1]):
        distances[rows] = torch.linalg.vector_norm(x[rows, None] - y[indices[rows]], dim=2)
    distances, order = distances.sort(dim=1, stable=True)
    return distances.cpu().numpy(), indices.gather(1, order).cpu().numpy()


def _move(features: Array, origin: Array, device: torch.device) -> Tensor:
    """Return features [N, D] as float32 on the device, seen from `origin` [D]: distances lose fewer digits."""
    return torch.from_numpy(np.asarray(features - origin, dtype=np.float32)).to(device)


def _mean_of(features: Array) -> Array:
    mean: Array = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _blocks(num_rows: int, row_size: int) -> Iterator[slice]:
    step = max(1, BLOCK_SIZE // row_size)
    for start in range(0, num_rows, step):
        yield slice(start, start + step)


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield block after block of the rows of x [N, D], and their squared distances [b, M] to y [M, D]."""
    x_norms, y_norms = x.square().sum(dim=1), y.square().sum(dim=1)
    for rows in _blocks(len(x), len(y)):
        norms = x_norms[rows, None]
        squared = (norms + y_norms).addmm_(x[rows], y.T, alpha=-2)
        yield rows, squared.masked_fill_(squared < ROUNDING * norms, 0)


def _closest(x: Tensor, y: Tensor, num: int, *, leave_out_self: bool) -> tuple[Tensor, Tensor]:
    """Return squared distances [N, num] to the nearest rows of y, ascending, and the indices of those."""
    squared, indices = [], []
    for rows, block in _squared_distances(x, y):
        if leave_out_self:
            block.diagonal(offset=rows.start).fill_(torch.inf)
        found = block.topk(num, dim=1, largest=False, sorted=True)
        squared.append(found.values)
        indices.append(found.indices)
    return torch.cat(squared), torch.cat(indices)


def _mean(values: Tensor) -> Estimate:
    """Mean over images [N] and its standard error."""
    samples = values.double()
    return Estimate(samples.mean().item(), samples.std().item() / len(samples) ** 0.5)
