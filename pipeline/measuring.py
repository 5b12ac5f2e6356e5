"""What is measured against one reference with one extractor: options, result, and the features in between."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gan.errors import UserError
from pipeline.data.dataset import Dataset
from pipeline.data.halves import split
from pipeline.defaults import DEFAULT_EXTRACTOR, EXTRACTOR_PRECISION
from pipeline.metrics.distances import Estimate
from pipeline.metrics.extractors import Features, load_extractor
from pipeline.metrics.measures import Sets
from pipeline.metrics.names import metric_name
from pipeline.metrics.reference import reference_features
from pipeline.metrics.streams import Images, stream_features
from pipeline.protocol import hash_of, protocol_of
from pipeline.selection import SELECTION_SEED

SAMPLING_SEED = 1000  # not a training seed: the images of fixed latents are not measured
LAST, BEST, REAL = "last", "best", "real"


@dataclass(frozen=True)
class Options:
    """How to measure. num_samples: generated images, and reference images where the dataset has so many.

    weights: of the extractor, where it needs a file. seed: of the first set of samples; the num_seeds - 1 further sets
    have the seeds after it. precision: of the extractor.
    """

    num_samples: int = 10_000
    extractor: str = DEFAULT_EXTRACTOR
    weights: Path | None = None
    seed: int = SAMPLING_SEED
    num_seeds: int = 1
    device: str = "auto"
    precision: str = EXTRACTOR_PRECISION
    show_progress: bool = True

    @property
    def seeds(self) -> Sequence[int]:
        """The sampling seeds."""
        return range(self.seed, self.seed + self.num_seeds)


@dataclass(frozen=True)
class Result:
    """The numbers of one checkpoint, or of real images, under one protocol.

    checkpoint: last, best or real. step: of a generator: its discriminator updates. num_measured: images of each
    sampling seed. metrics: means over the sampling seeds. sampling_spread: their sample standard deviations, where
    there are two seeds or more. estimator_error: means of the estimators' own uncertainties. flags: keys of FLAGS.
    """

    checkpoint: str
    step: int | None
    num_measured: int
    metrics: Mapping[str, float]
    sampling_spread: Mapping[str, float]
    estimator_error: Mapping[str, float]
    flags: Sequence[str]


class Measuring:
    """One dataset, extractor and protocol: what is measured against them."""

    def __init__(self, dataset: Dataset, options: Options, cache: Path, device: torch.device) -> None:
        if options.num_samples < 2:
            raise UserError(f"--num-samples must be at least 2, got {options.num_samples}.")
        if SELECTION_SEED in options.seeds:
            raise UserError(
                f"--seed, --num-seeds: must leave out {SELECTION_SEED}, with which best generators are chosen, "
                f"got {options.seeds[0]} to {options.seeds[-1]}. Choose other sampling seeds."
            )
        self.dataset, self.options, self.cache = dataset, options, cache / "features"
        self.network = load_extractor(
            options.extractor, weights=options.weights, device=device, precision=options.precision
        )
        self.indices = np.sort(split(len(dataset.images)).reference[: options.num_samples])
        if len(self.indices) < 2:
            raise UserError(f"Dataset '{dataset.name}' is too small to measure against. Prepare at least 4 images.")
        self.protocol = protocol_of(
            dataset,
            self.network,
            num_reference=len(self.indices),
            num_samples=options.num_samples,
            seeds=options.seeds,
        )
        self.protocol_hash = hash_of(self.protocol)

    @cached_property
    def real(self) -> Features:
        """Features of the reference."""
        return self._features_of(self.dataset.images, self.indices, self.dataset.digest)

    @cached_property
    def held_out(self) -> Features | None:
        """Features of the images that no training saw, if there are any: at most as many as of the reference."""
        images = self.dataset.held_out[: len(self.indices)]
        if not len(images):
            return None
        return self._features_of(images, np.arange(len(images)), f"{self.dataset.digest}, held out")

    def _features_of(self, images: NDArray[np.uint8], indices: NDArray[np.integer[Any]], digest: str) -> Features:
        return reference_features(
            self.network,
            images,
            dataset_digest=digest,
            indices=indices,
            cache=self.cache,
            progress=self.options.show_progress,
        )

    def sets(self, images: Images, num_images: int, identity: Mapping[str, Any], description: str) -> Sets:
        """Return the features of images, and all that they are compared with."""
        real, held_out = self.real, self.held_out  # first: their bar comes before
        fake = stream_features(
            self.network,
            images,
            num_images=num_images,
            identity=identity,
            cache=self.cache,
            description=description,
            progress=self.options.show_progress,
        )
        return Sets(real, fake, held_out, self.network.logits(fake), self.network.device)


def summarise(
    estimates: Sequence[Mapping[str, Estimate]], extractor: str, num_measured: int, raised: Sequence[str]
) -> Result:
    """Return the means over sampling seeds, with their spread and the estimators' mean uncertainty."""
    kinds = [kind for kind in estimates[0] if all(kind in each for each in estimates)]
    values = {metric_name(kind, extractor): [each[kind] for each in estimates] for kind in kinds}
    return Result(
        checkpoint=REAL,
        step=None,
        num_measured=num_measured,
        metrics={name: fmean(each.value for each in of_seeds) for name, of_seeds in values.items()},
        sampling_spread={
            name: stdev(each.value for each in of_seeds) for name, of_seeds in values.items() if len(of_seeds) > 1
        },
        estimator_error={
            name: fmean(errors)
            for name, of_seeds in values.items()
            if len(errors := [each.error for each in of_seeds if each.error is not None]) == len(of_seeds)
        },
        flags=list(raised),
    )
