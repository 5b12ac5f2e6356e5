"""Distances between two sets of features: pure mathematics in float64."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan.errors import UserError

Array = NDArray[np.floating]


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation of the squared MMD over subsets.

    std is the spread over subsets that overlap: no confidence interval. num_subsets and subset_size are what was
    really used. Mean can be negative.
    """

    mean: float
    std: float
    num_subsets: int
    subset_size: int


def frechet_distance(real: Array, fake: Array) -> float:
    """Squared 2-Wasserstein distance between the Gaussians with the means and covariances of two sets of features.

    real [N, D], fake [M, D], N and M at least 2. Not negative; symmetric; covariances are the unbiased estimates.
    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)). UserError: a feature is not finite, or there are too few.
    Source: Heusel et al. 2017, eq. 6, arXiv:1706.08500; Dowson and Landau 1982.
    """
    _check(real, fake)
    small, large = sorted((real, fake), key=len)  # the set of lower rank first: see _trace_of_square_root
    mean_shift = np.linalg.norm(small.mean(axis=0, dtype=np.float64) - large.mean(axis=0, dtype=np.float64)) ** 2
    covariance_small, covariance_large = _covariance(small), _covariance(large)
    traces = covariance_small.trace() + covariance_large.trace()
    distance = mean_shift + traces - 2 * _trace_of_square_root(covariance_small, covariance_large)
    return max(float(distance), 0.0)  # rounding may leave -1e-12 for equal sets


def kernel_distance(
    real: Array, fake: Array, *, num_subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Mean over random subsets of the unbiased squared MMD: the KID of torch-fidelity, drawing the same subsets.

    real [N, D], fake [M, D]. subset_size is lowered to min(N, M) where that is smaller; if then every subset is the
    whole of both sets, one is computed. UserError: a feature is not finite, or there are too few.
    Source: Binkowski et al. 2018, section 3 and appendix D, arXiv:1801.01401.
    """
    _check(real, fake)
    size = min(subset_size, len(real), len(fake))
    if size == len(real) == len(fake):
        num_subsets = 1
    generator = np.random.RandomState(seed)  # the legacy generator: torch-fidelity's choice, for equal subsets
    values = np.empty(num_subsets)
    for subset in range(num_subsets):
        real_rows = generator.choice(len(real), size, replace=False)
        fake_rows = generator.choice(len(fake), size, replace=False)
        values[subset] = squared_mmd(real[real_rows], fake[fake_rows])
    return KernelDistance(float(values.mean()), float(values.std()), num_subsets, size)


def squared_mmd(real: Array, fake: Array) -> float:
    """Unbiased squared MMD with the cubic polynomial kernel (x.y / D + 1)^3.

    real [m, D], fake [n, D], m and n at least 2. Can be negative.
    Source: Gretton et al. 2012, eq. 3; kernel of Binkowski et al. 2018, arXiv:1801.01401.
    """
    x, y = real.astype(np.float64), fake.astype(np.float64)
    within_real, within_fake, between = _cubic_kernel(x, x), _cubic_kernel(y, y), _cubic_kernel(x, y)
    return _off_diagonal_mean(within_real) + _off_diagonal_mean(within_fake) - 2 * float(between.mean())


def _covariance(features: Array) -> NDArray[np.float64]:
    covariance: NDArray[np.float64] = np.atleast_2d(np.cov(features, rowvar=False, dtype=np.float64))
    return covariance


def _trace_of_square_root(small: NDArray[np.float64], large: NDArray[np.float64]) -> float:
    """tr((S1 S2)^(1/2)) of two covariances [D, D].

    With S1 = F F^T, S1 S2 has the eigenvalues of the symmetric F^T S2 F, which are real and not negative. F keeps only
    directions in which S1 has variance, so that fewer images than features are no special case; S1 should be the one
    of lower rank: the square root of a zero that was rounded to 1e-16 is 1e-8.
    """
    variances, directions = np.linalg.eigh(small)
    kept = variances > variances[-1] * len(small) * np.finfo(np.float64).eps
    factor = directions[:, kept] * np.sqrt(variances[kept])
    eigenvalues = np.linalg.eigvalsh(factor.T @ large @ factor)
    return float(np.sqrt(eigenvalues.clip(min=0)).sum())


def _cubic_kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    products = x @ y.T / x.shape[1] + 1
    cubes: NDArray[np.float64] = products * products * products  # `** 3` takes ten times as long
    return cubes


def _off_diagonal_mean(kernel: NDArray[np.float64]) -> float:
    return float(kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1))


def _check(real: Array, fake: Array) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"features must be [N, D] and [M, D], got {real.shape} and {fake.shape}")
    for side, features in (("real", real), ("fake", fake)):
        if len(features) < 2:
            raise UserError(f"a distance needs at least 2 {side} images, got {len(features)}: use more images")
        if not np.isfinite(features).all():
            raise UserError(f"the {side} features must be finite, got NaN or infinity: use other weights or a new run")
