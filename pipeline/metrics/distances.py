"""Distances between two sets of features: pure mathematics in float64, block by block."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan.errors import UserError

Array = NDArray[np.floating]
Float64 = NDArray[np.float64]

BLOCK_ROWS = 1024  # rows that are converted to float64 at once
IMAGES_PER_FEATURE = 4  # frechet_infinity needs so many: with fewer, the distance is not yet a line in 1/n
SMALLEST_SUBSET = 0.5  # of the fake images, in frechet_infinity: for the same reason


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


@dataclass(frozen=True)
class Estimate:
    """A value and the uncertainty of its estimator, None where there is none."""

    value: float
    error: float | None


@dataclass(frozen=True)
class _Gaussian:
    """Mean [D], unbiased covariance [D, D], and what the rank of the covariance cannot exceed."""

    mean: Float64
    covariance: Float64
    max_rank: int


def frechet_distance(real: Array, fake: Array) -> float:
    """Squared 2-Wasserstein distance between the Gaussians with the means and covariances of two sets of features.

    real [N, D], fake [M, D], N and M at least 2. Not negative; symmetric; covariances are the unbiased estimates.
    |m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^(1/2)). UserError: a feature is not finite, or there are too few.
    Source: Heusel et al. 2017, eq. 6, arXiv:1706.08500; Dowson and Landau 1982.
    """
    check_features({"real": real, "fake": fake})
    small, large = sorted((real, fake), key=len)  # the set of lower rank is the cheaper one to factorise
    first = _fit(small)
    return _distance(first, _factor(first), _fit(large))


def frechet_bootstrap(real: Array, fake: Array, *, num_resamples: int = 20, seed: int = 0) -> float:
    """Return the standard deviation of the Frechet distance over bootstrap resamples of the real features.

    real [N, D], fake [M, D]; num_resamples at least 2. Too large, up to threefold, where bias is much of the distance:
    with N near D, or for almost equal distributions. UserError: as frechet_distance.
    Source: Efron 1979, Annals of Statistics 7(1).
    """
    check_features({"real": real, "fake": fake})
    generator = np.random.default_rng(seed)
    fixed = _fit(fake)
    factor = _factor(fixed)
    distances = []
    for _ in range(num_resamples):
        counts = generator.multinomial(len(real), np.full(len(real), 1 / len(real)))
        distances.append(_distance(fixed, factor, _fit(real, counts)))
    return float(np.std(distances, ddof=1))


def frechet_infinity(real: Array, fake: Array, *, num_points: int = 15, seed: int = 0) -> Estimate | None:
    """Frechet distance to infinitely many fake images: a line in 1/n, fitted to random subsets of n, at 1/n = 0.

    real [N, D], fake [M, D]; num_points (at least 3) sizes from M / 2 to M: the curve over 1/n bends where n is near D,
    and subsets from M / 10, as in the paper, need M > 20 D for the same accuracy. None where M < 4 D. Can be negative.
    error is that of the fit: too small, as subsets share images, and without the bias and spread of the real set.
    UserError: as frechet_distance.
    Source: Chong and Forsyth 2020, section 3, arXiv:1911.07023.
    """
    check_features({"real": real, "fake": fake})
    num, dimension = fake.shape
    if num < IMAGES_PER_FEATURE * dimension:
        return None
    generator = np.random.default_rng(seed)
    fixed = _fit(real)
    factor = _factor(fixed)
    sizes = np.linspace(SMALLEST_SUBSET * num, num, num_points).astype(int)
    distances = np.empty(num_points)
    for point, size in enumerate(sizes):
        counts = np.zeros(num, dtype=np.int64)
        counts[generator.choice(num, size, replace=False)] = 1
        distances[point] = _distance(fixed, factor, _fit(fake, counts))
    return _intercept(1 / sizes, distances)


def kernel_distance(
    real: Array, fake: Array, *, num_subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """Mean over random subsets of the unbiased squared MMD: the KID of torch-fidelity, drawing the same subsets.

    real [N, D], fake [M, D]. subset_size is lowered to min(N, M) where that is smaller; if then every subset is the
    whole of both sets, one is computed. UserError: a feature is not finite, or there are too few.
    Source: Binkowski et al. 2018, section 3 and appendix D, arXiv:1801.01401.
    """
    check_features({"real": real, "fake": fake})
    size = min(subset_size, len(real), len(fake))
    if size == len(real) == len(fake):
        num_subsets = 1
    generator = np.random.RandomState(seed)  # the legacy generator: torch-fidelity's choice, for equal subsets
    subsets = [
        (generator.choice(len(real), size, replace=False), generator.choice(len(fake), size, replace=False))
        for _ in range(num_subsets)
    ]
    if num_subsets * size**2 > max(len(real), len(fake)) ** 2:  # the subsets share most of their kernel values
        members = [np.zeros((len(features), num_subsets)) for features in (real, fake)]
        for subset, sides in enumerate(subsets):
            for side, rows in zip(members, sides, strict=True):
                side[rows, subset] = 1
        values = _squared_mmds(real, members[0], fake, members[1])
    else:
        values = np.array([squared_mmd(real[rows], fake[fake_rows]) for rows, fake_rows in subsets])
    return KernelDistance(float(values.mean()), float(values.std()), num_subsets, size)


def squared_mmd(real: Array, fake: Array) -> float:
    """Unbiased squared MMD with the cubic polynomial kernel (x.y / D + 1)^3.

    real [m, D], fake [n, D], m and n at least 2. Can be negative.
    Source: Gretton et al. 2012, eq. 3; kernel of Binkowski et al. 2018, arXiv:1801.01401.
    """
    return float(_squared_mmds(real, np.ones((len(real), 1)), fake, np.ones((len(fake), 1)))[0])


def check_features(sets: Mapping[str, Array], *, least: int = 2) -> None:
    """UserError where a set, named by its key, has too few rows or a value that is not finite.

    Each [N, D], with the same D: else ValueError.
    """
    shapes = {name: features.shape for name, features in sets.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or len({shape[1] for shape in shapes.values()}) != 1:
        raise ValueError(f"features must be [N, D] with one D, got {shapes}")
    for name, features in sets.items():
        if len(features) < least:
            raise UserError(f"a comparison needs at least {least} {name} images, got {len(features)}: use more images")
        if not np.isfinite(features).all():
            raise UserError(f"the {name} features must be finite, got NaN or infinity: use other weights or a new run")


def _fit(features: Array, counts: NDArray[np.integer] | None = None) -> _Gaussian:
    """Return the moments of features [N, D], of which row i counts counts[i] times (once, where there are none).

    Sums are taken around the mean of all rows, so that a far mean costs no digits.
    """
    rows = np.arange(len(features)) if counts is None else np.flatnonzero(counts)
    roots = np.ones(len(rows)) if counts is None else np.sqrt(counts[rows])
    centre = features.mean(axis=0, dtype=np.float64)
    total: Float64 = np.zeros(len(centre))
    products: Float64 = np.zeros((len(centre), len(centre)))
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        weighted = (features[rows[block]] - centre) * roots[block, None]
        total += roots[block] @ weighted
        products += weighted.T @ weighted
    num = np.square(roots).sum()
    products -= np.outer(total, total / num)
    return _Gaussian(centre + total / num, products / (num - 1), max_rank=len(rows) - 1)


def _distance(first: _Gaussian, factor: Array, second: _Gaussian) -> float:
    """Return the Frechet distance of two Gaussians, of which the first has the covariance factor @ factor.T.

    The eigenvalues of S1 S2 are those of the symmetric F^T S2 F, which are real and not negative. Those beyond the rank
    are left out: the square root of a zero that was rounded to 1e-16 is 1e-8.
    """
    eigenvalues = np.linalg.eigvalsh(factor.T @ second.covariance @ factor)  # ascending
    roots = np.sqrt(eigenvalues[-min(first.max_rank, second.max_rank) :].clip(min=0))
    traces = first.covariance.trace() + second.covariance.trace()
    distance = np.square(first.mean - second.mean).sum() + traces - 2 * roots.sum()
    return max(float(distance), 0.0)  # rounding may leave -1e-12 for equal sets


def _factor(gaussian: _Gaussian) -> Array:
    """Return F [D, rank] with F F^T = the covariance: Cholesky's, or from eigenvectors, where that needs full rank.

    Cholesky's takes less time and loses fewer digits. Constant features, as behind a ReLU, are
    no obstacle.
    """
    size = len(gaussian.covariance)
    varying = np.flatnonzero(gaussian.covariance.diagonal())
    if gaussian.max_rank >= len(varying) > 0:
        factor = np.zeros((size, len(varying)))
        with suppress(np.linalg.LinAlgError):  # not positive definite: the pivots stay 0
            factor[varying] = np.linalg.cholesky(gaussian.covariance[np.ix_(varying, varying)])
        pivots = np.square(factor[varying].diagonal())
        if pivots.min() > 1e-11 * pivots.max():
            return factor
    variances, directions = np.linalg.eigh(gaussian.covariance)
    kept = variances > variances[-1] * size * np.finfo(np.float64).eps
    return np.asarray(directions[:, kept] * np.sqrt(variances[kept]))


def _intercept(x: Float64, y: Float64) -> Estimate:
    """Value at x = 0 of the least-squares line through points x, y [P], and its standard error from the residuals."""
    centred = x - x.mean()
    slope = centred @ y / (centred @ centred)
    value = y.mean() - slope * x.mean()
    variance = np.square(y - value - slope * x).sum() / (len(x) - 2)
    return Estimate(float(value), float(np.sqrt(variance * (1 / len(x) + x.mean() ** 2 / (centred @ centred)))))


def _squared_mmds(real: Array, in_real: Float64, fake: Array, in_fake: Float64) -> Float64:
    """Unbiased squared MMDs [S] of S subsets at once: in_real [N, S] and in_fake [M, S] are 1 for members, else 0."""
    num_real, num_fake = in_real.sum(axis=0), in_fake.sum(axis=0)
    within_real = _kernel_sums(real, in_real, real, in_real, within=True) / (num_real * (num_real - 1))
    within_fake = _kernel_sums(fake, in_fake, fake, in_fake, within=True) / (num_fake * (num_fake - 1))
    between = _kernel_sums(real, in_real, fake, in_fake, within=False) / (num_real * num_fake)
    squared: Float64 = within_real + within_fake - 2 * between
    return squared


def _kernel_sums(x: Array, in_x: Float64, y: Array, in_y: Float64, *, within: bool) -> Float64:
    """Return the sums [S] of the kernel over pairs of members of x and y; within one set, of no row with itself."""
    sums = np.zeros(in_x.shape[1])
    for i in range(0, len(x), BLOCK_ROWS):
        left = x[i : i + BLOCK_ROWS].astype(np.float64)
        for j in range(i if within else 0, len(y), BLOCK_ROWS):
            diagonal = within and i == j
            right = left if diagonal else y[j : j + BLOCK_ROWS].astype(np.float64)
            products = left @ right.T / x.shape[1] + 1
            kernel = products * products * products  # `** 3` takes ten times as long
            if diagonal:
                np.fill_diagonal(kernel, 0)
            blocks = np.einsum("ns,ns->s", in_x[i : i + BLOCK_ROWS], kernel @ in_y[j : j + BLOCK_ROWS])
            sums += blocks * (2 if within and not diagonal else 1)
    return sums
