"""The metrics that are measured from real and fake features. One entry of METRICS is one metric."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.metrics.distances import frechet_distance, kernel_distance
from pipeline.metrics.extractors import Extractor, Features
from pipeline.metrics.names import metric_name


@dataclass(frozen=True)
class Measurement:
    """Named values, and what else has to be said about how they were made (for the protocol of the row)."""

    values: Mapping[str, float]
    protocol: Mapping[str, str]


def measure_frechet(extractor: Extractor, real: Features, fake: Features) -> Measurement:
    """Frechet distance. Biased in the number of images, which is why it stands in the protocol."""
    return Measurement({metric_name("fd", extractor.name): frechet_distance(real, fake)}, {})


def measure_kernel(extractor: Extractor, real: Features, fake: Features) -> Measurement:
    """Kernel distance; `_std` is the spread over subsets, no confidence interval."""
    distance = kernel_distance(real, fake, seed=0)
    name = metric_name("kd", extractor.name)
    return Measurement(
        {name: distance.mean, f"{name}_std": distance.std},
        {f"{name}_subsets": f"{distance.num_subsets} of {distance.subset_size} images, seed 0"},
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
