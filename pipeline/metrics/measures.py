"""The metrics that are measured from features. One entry of METRICS is one computation, of one number or several."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.metrics.distances import Estimate, frechet_bootstrap, frechet_distance, frechet_infinity, kernel_distance
from pipeline.metrics.extractors import Features
from pipeline.metrics.inception_score import inception_score
from pipeline.metrics.manifold import manifold
from pipeline.metrics.memorisation import authentic, memorised

K_PRECISION, K_DENSITY = 3, 5
NUM_RESAMPLES = 20
NUM_SUBSETS, SUBSET_SIZE = 100, 1000
NUM_POINTS = 15
NUM_SPLITS = 10
COLLAPSED = 0.1


@dataclass(frozen=True)
class Sets:
    """What is compared: features of reference images, of measured ones and of images that no training saw.

    real [N, D], fake [M, D]; held_out [H, D] or None; logits: class scores of the measured images [M, K], where the
    extractor has a classifier. device: where products of whole sets are computed.
    """

    real: Features
    fake: Features
    held_out: Features | None = None
    logits: NDArray[np.float32] | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


@dataclass(frozen=True)
class Metric:
    """A computation. methods: for each of its numbers (keys of KINDS) what was computed and what its error means.

    measure: from sets to numbers; one that these sets do not allow is left out.
    """

    methods: Mapping[str, str]
    measure: Callable[[Sets], Mapping[str, Estimate]]


def measure_frechet(sets: Sets) -> Mapping[str, Estimate]:
    """Frechet distance: biased in the number of images, which is why that stands in the protocol."""
    error = frechet_bootstrap(sets.real, sets.fake, num_resamples=NUM_RESAMPLES)
    return {"fd": Estimate(frechet_distance(sets.real, sets.fake), error)}


def measure_kernel(sets: Sets) -> Mapping[str, Estimate]:
    """Kernel distance."""
    distance = kernel_distance(sets.real, sets.fake, num_subsets=NUM_SUBSETS, subset_size=SUBSET_SIZE, seed=0)
    return {"kd": Estimate(distance.mean, distance.std if distance.num_subsets > 1 else None)}


def measure_infinity(sets: Sets) -> Mapping[str, Estimate]:
    """Frechet distance without the bias, where there are enough images to extrapolate."""
    extrapolated = frechet_infinity(sets.real, sets.fake, num_points=NUM_POINTS)
    return {} if extrapolated is None else {"fd_infinity": extrapolated}


def measure_manifold(sets: Sets) -> Mapping[str, Estimate]:
    """Precision, recall, density and coverage, where there are more images than neighbours."""
    if min(len(sets.real), len(sets.fake)) <= max(K_PRECISION, K_DENSITY):
        return {}
    found = manifold(sets.real, sets.fake, k_precision=K_PRECISION, k_density=K_DENSITY, device=sets.device)
    return {
        "precision": found.precision,
        "recall": found.recall,
        "density": found.density,
        "coverage": found.coverage,
    }


def measure_inception_score(sets: Sets) -> Mapping[str, Estimate]:
    """Inception score, where the extractor has a classifier."""
    if sets.logits is None:
        return {}
    score = inception_score(sets.logits, num_splits=NUM_SPLITS)
    return {"is": Estimate(score.mean, score.std)}


def measure_memorisation(sets: Sets) -> Mapping[str, Estimate]:
    """Shares of images that are near copies of training images, or nearer to those than held-out images are."""
    values = {"authentic": authentic(sets.fake, sets.real, device=sets.device)}
    if sets.held_out is not None:
        values["memorised"] = memorised(sets.fake, sets.real, sets.held_out, device=sets.device)
    return values


METRICS: Mapping[str, Metric] = {
    "frechet": Metric(
        {"fd": f"error: standard deviation over {NUM_RESAMPLES} bootstrap resamples of the reference"},
        measure_frechet,
    ),
    "kernel": Metric(
        {
            "kd": "unbiased, cubic polynomial kernel, mean over "
            f"{NUM_SUBSETS} subsets of {SUBSET_SIZE} (fewer images: one set of all), seed 0; "
            "error: standard deviation over the subsets, which overlap: no confidence interval"
        },
        measure_kernel,
    ),
    "infinity": Metric(
        {
            "fd_infinity": f"line in 1/N through {NUM_POINTS} subsets of N/2 to N of the generated images, at 1/N = 0; "
            "error: standard error of that fit"
        },
        measure_infinity,
    ),
    "manifold": Metric(
        {
            "precision": f"k = {K_PRECISION}; error: standard error of the mean over generated images",
            "recall": f"k = {K_PRECISION}; error: standard error of the mean over real images",
            "density": f"k = {K_DENSITY}; error: standard error of the mean over generated images",
            "coverage": f"k = {K_DENSITY}; error: standard error of the mean over real images",
        },
        measure_manifold,
    ),
    "inception_score": Metric(
        {"is": f"mean over {NUM_SPLITS} splits in random order; error: standard deviation over the splits"},
        measure_inception_score,
    ),
    "memorisation": Metric(
        {
            "authentic": "training images: the reference; error: binomial standard error",
            "memorised": "training images: the reference; error: standard error over both sets of the pairs",
        },
        measure_memorisation,
    ),
}


def methods() -> dict[str, str]:
    """Return what the protocol has to say about each number, by its key in KINDS."""
    return {kind: method for metric in METRICS.values() for kind, method in metric.methods.items()}


def measure(sets: Sets) -> dict[str, Estimate]:
    """Return all numbers that the sets allow, by their keys in KINDS."""
    return {kind: each for metric in METRICS.values() for kind, each in metric.measure(sets).items()}


FLAGS: Mapping[str, tuple[Callable[[Sets], bool], str]] = {
    "collapsed": (
        lambda sets: _total_variance(sets.fake) < COLLAPSED * _total_variance(sets.real),
        f"the features vary less than {COLLAPSED:.0%} of real images' (total variance)",
    ),
}
"""What a reader of a row has to know: the rule, and its meaning in words."""


def flags(sets: Sets) -> tuple[str, ...]:
    """Return the names of the flags that the sets raise."""
    return tuple(name for name, (applies, _) in FLAGS.items() if applies(sets))


def _total_variance(features: Features) -> float:
    columns = range(0, features.shape[1], 128)  # little of it in float64 at a time
    return float(sum(features[:, first : first + 128].var(axis=0, dtype=np.float64).sum() for first in columns))
