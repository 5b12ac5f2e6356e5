"""Measuring a generator during training: curves, and the choice of the best checkpoint.

Choice and report never share data: the choice uses the half of the dataset that the table's reference is not from, and
samples of its own seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gan.config import Config
from gan.sampling import sample
from gan.training import Evaluation
from pipeline.data.dataset import Dataset
from pipeline.data.halves import SPLIT_SEED, split
from pipeline.defaults import CURVE_EPOCHS, CURVE_SAMPLES, DEFAULT_EXTRACTOR
from pipeline.metrics.distances import frechet_distance, squared_mmd
from pipeline.metrics.extractors import Features, extract_features, load_extractor
from pipeline.metrics.names import metric_name
from pipeline.metrics.reference import reference_features
from pipeline.workspace import Workspace

SELECTION_SEED = 2000  # neither a training seed's nor one of the table's samples


@dataclass(frozen=True)
class Selection:
    """How to measure during training.

    every: epochs from one to the next, also parts of one. num_samples: generated and real images. extractors: each has
    its curves; the first one's Frechet distance decides which generator is best.
    """

    every: float = CURVE_EPOCHS
    num_samples: int = CURVE_SAMPLES
    extractors: Sequence[str] = (DEFAULT_EXTRACTOR,)


def selection_steps(config: Config, num_images: int, every: float) -> list[int]:
    """Return the steps to measure at: the ends of every so many epochs, and the last step."""
    last = config.num_steps(num_images)
    interval = max(1, round(every * config.steps_per_epoch(num_images)))
    return sorted({*range(interval, last + 1, interval), last})


def evaluation_of(
    selection: Selection, config: Config, dataset: Dataset, device: torch.device, workspace: Workspace
) -> tuple[Evaluation, Mapping[str, Any]]:
    """Return what measures a generator by its Frechet and kernel distances, and the protocol."""
    networks = [load_extractor(name, device=device) for name in selection.extractors]
    indices = np.sort(split(len(dataset.images)).other[: selection.num_samples])
    real = {
        network.name: reference_features(
            network,
            dataset.images,
            dataset_digest=dataset.digest,
            indices=indices,
            cache=workspace.cache / "features",
            progress=False,
        )
        for network in networks
    }

    def measure(generator: nn.Module) -> dict[str, float]:
        samples = list(
            sample(generator, seed=SELECTION_SEED, num=len(indices), latent_size=config.latent_size, device=device)
        )
        points: dict[str, float] = {}
        for network in networks:
            fake = extract_features(network, samples, num_images=len(indices), description="evaluation", progress=False)
            points |= _distances(network.name, real[network.name], fake)
        return points

    protocol = {
        "purpose": "curves, and the choice of the best checkpoint; not comparable with the table",
        "reference": f"half for choices (split seed {SPLIT_SEED})",
        "num_reference": len(indices),
        "num_samples": len(indices),
        "epochs_between": selection.every,
        "sampling_seed": SELECTION_SEED,
        "decides": _curve("fd", networks[0].name),
        "extractors": {network.name: dict(network.protocol) for network in networks},
    }
    steps = selection_steps(config, len(dataset.images), selection.every)
    return Evaluation(steps, measure, _curve("fd", networks[0].name)), protocol


def _distances(extractor: str, real: Features, fake: Features) -> dict[str, float]:
    return {
        _curve("fd", extractor): frechet_distance(real, fake),
        _curve("kd", extractor): squared_mmd(real, fake),
    }


def _curve(kind: str, extractor: str) -> str:
    return f"curve/{metric_name(kind, extractor)}"
