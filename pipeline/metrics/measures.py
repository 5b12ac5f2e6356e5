"""The metrics that are measured from real and fake features. One entry of METRICS is one metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.metrics.distances import frechet_distance, kernel_distance
from pipeline.metrics.extractors import Extractor, Features


@dataclass(frozen=True)
class Measurement:
    """Named values, and what else has to be said about how they were made (for the protocol of the row)."""

    values: Mapping[str, float]
    protocol: Mapping[str, str]


def measure_frechet(extractor: Extractor, real: Features, fake: Features) -> Measurement:
    """Frechet distance. Biased in the number of images, which is why it stands in the protocol."""
    return Measurement({extractor.frechet: frechet_distance(real, fake)}, {})


def measure_kernel(extractor: Extractor, real: Features, fake: Features) -> Measurement:
    """Kernel distance; `_std` is the spread over subsets, no confidence interval."""
    distance = kernel_distance(real, fake, seed=0)
    return Measurement(
        {extractor.kernel: distance.mean, f"{extractor.kernel}_std": distance.std},
        {f"{extractor.kernel}_subsets": f"{distance.num_subsets} of {distance.subset_size} images, seed 0"},
    )


METRICS: Mapping[str, Callable[[Extractor, Features, Features], Measurement]] = {
    "frechet": measure_frechet,
    "kernel": measure_kernel,
}


def measure(extractor: Extractor, real: Features, fake: Features) -> Measurement:
    """All metrics of the table, for features [N, D] and [M, D] of this extractor."""
    measurements = [metric(extractor, real, fake) for metric in METRICS.values()]
    return Measurement(
        {name: value for each in measurements for name, value in each.values.items()},
        {name: text for each in measurements for name, text in each.protocol.items()},
    )
