"""Measuring a generator during training: a curve, and the choice of the best checkpoint.

Choice and report never share data: the choice uses the half of the dataset that the table's reference is not from, and
samples of its own seed.
"""

from collections.abc import Mapping
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
from pipeline.metrics.distances import frechet_distance
from pipeline.metrics.extractors import DEFAULT_EXTRACTOR, extract_features, load_extractor
from pipeline.metrics.names import metric_name
from pipeline.metrics.reference import reference_features
from pipeline.workspace import Workspace

SELECTION_SEED = 2000  # neither a training seed's nor that of the table's samples


@dataclass(frozen=True)
class Selection:
    """How to measure during training. every: epochs from one to the next. num_samples: generated and real images."""

    every: int
    num_samples: int = 2048
    extractor: str = DEFAULT_EXTRACTOR


def selection_steps(config: Config, num_images: int, every: int) -> list[int]:
    """Return the steps to measure at: the ends of every so many epochs, and the last step."""
    last, interval = config.num_steps(num_images), every * config.steps_per_epoch(num_images)
    return sorted({*range(interval, last + 1, interval), last})


def evaluation_of(
    selection: Selection, config: Config, dataset: Dataset, device: torch.device, workspace: Workspace
) -> tuple[Evaluation, Mapping[str, Any]]:
    """Return what measures a generator by its Frechet distance, and its protocol."""
    network = load_extractor(selection.extractor, device=device)
    indices = np.sort(split(len(dataset.images)).held_out[: selection.num_samples])
    real = reference_features(
        network,
        dataset.images,
        dataset_digest=dataset.digest,
        indices=indices,
        cache=workspace.cache / "features",
        progress=False,
    )

    def measure(generator: nn.Module) -> float:
        samples = sample(
            generator,
            seed=SELECTION_SEED,
            num=selection.num_samples,
            latent_size=config.latent_size,
            device=device,
        )
        fake = extract_features(
            network, samples, num_images=selection.num_samples, description="evaluation", progress=False
        )
        return frechet_distance(real, fake)

    protocol = {
        "purpose": "choice of the best checkpoint; not comparable with the table",
        "reference": f"held-out half (split seed {SPLIT_SEED})",
        "num_reference": len(indices),
        "num_samples": selection.num_samples,
        "sampling_seed": SELECTION_SEED,
        **network.protocol,
    }
    steps = selection_steps(config, len(dataset.images), selection.every)
    return Evaluation(steps, measure, f"curve/{metric_name('fd', network.name)}"), protocol
