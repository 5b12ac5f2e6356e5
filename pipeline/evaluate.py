"""The evaluate stage: from a trained generator, or from real images, to distances with their protocol.

No files lie between the generator and the features. The reference is one half of the dataset, the same for all; the
other half is what real images are measured with (the floor).
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gan.devices import select_device
from gan.errors import UserError
from pipeline import __version__
from pipeline.data.dataset import Dataset, load_dataset
from pipeline.data.halves import SPLIT_SEED, split
from pipeline.metrics.extractors import DEFAULT_EXTRACTOR, Extractor, extract_features, load_extractor
from pipeline.metrics.measures import Measurement, measure
from pipeline.metrics.reference import image_batches, reference_features
from pipeline.sample import load_trained
from pipeline.tracking import EVALUATION, Run, Stage, Store
from pipeline.workspace import Workspace

SAMPLING_SEED = 1000  # not a training seed: the images of fixed latents are not measured
SOFTWARE = ("torch", "torchvision", "timm", "torch-fidelity", "numpy")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to measure. num_samples: generated images, and reference images where the dataset has so many.

    weights: of the extractor, where it needs a file. seed: of the samples.
    """

    num_samples: int = 10_000
    extractor: str = DEFAULT_EXTRACTOR
    weights: Path | None = None
    seed: int = SAMPLING_SEED
    device: str = "auto"
    show_progress: bool = True


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one run under one protocol. again: they had been measured before."""

    run_id: str
    name: str
    protocol: Mapping[str, Any]
    metrics: Mapping[str, float]
    again: bool

    @property
    def protocol_hash(self) -> str:
        """Short name of the protocol: results with another hash are not comparable."""
        return protocol_hash(self.protocol)


def protocol_hash(protocol: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that stand for a protocol."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]


def evaluate(run_id: str, options: Options, *, store: Store, workspace: Workspace) -> Evaluation:
    """Measure a training run's last generator against its dataset's reference half, into that run.

    Raises UserError for a run without generator, a dataset that is missing or another one, and missing weights.
    """
    device = select_device(options.device)
    run = store.get(run_id)
    trained = load_trained(run, store, device)
    dataset = _dataset_of(run, workspace)
    network = load_extractor(options.extractor, weights=options.weights, device=device)
    measuring = _Measuring(dataset, network, options, workspace)

    if done := _earlier(run, network, measuring.protocol):
        return done
    samples = trained.sample(seed=options.seed, num=options.num_samples, device=device)
    measurement = measuring.measure(samples, run.name)
    return _store(store, run_id, run.name, network, measuring.protocol, measurement, options.num_samples)


def evaluate_real(data: str, options: Options, *, store: Store, workspace: Workspace) -> Evaluation:
    """Measure held-out real images against the reference half: the floor of the table, in a run of its own."""
    dataset = load_dataset(data, workspace.data)
    network = load_extractor(options.extractor, weights=options.weights, device=select_device(options.device))
    measuring = _Measuring(dataset, network, options, workspace)
    held_out = split(len(dataset.images)).other[: options.num_samples]
    if len(held_out) < options.num_samples:
        log.warning(
            "Half of dataset '%s' has %d images: the floor is measured with so many instead of %d.",
            data, len(held_out), options.num_samples,
        )  # fmt: skip

    name = f"real-{dataset.name}"
    tags = {"stage": Stage.REAL, "variant": "real", "dataset": dataset.name, "dataset_digest": dataset.digest}
    earlier = store.find({"stage": Stage.REAL, "dataset_digest": dataset.digest})
    for run in earlier:
        if done := _earlier(run, network, measuring.protocol):
            return done
    measurement = measuring.measure(image_batches(dataset.images, np.sort(held_out)), name, num_images=len(held_out))
    resume = earlier[0].run_id if earlier and store.project_run is None else None
    with store.open_run(name=name, tags=tags, resume=resume, description="Held-out real images: the floor.") as writer:
        return _store(store, writer.run_id, name, network, measuring.protocol, measurement, len(held_out))


def finished_runs(variant: str, store: Store) -> list[str]:
    """Return the ids of the finished trainings of a variant, one for each fingerprint.

    Raises UserError where there is none.
    """
    runs = store.find({"stage": Stage.TRAIN, "variant": variant})
    finished = {run.tags["fingerprint"]: run.run_id for run in reversed(runs) if run.status == "FINISHED"}
    if not finished:
        raise UserError(f"--variant: '{variant}' has no finished run. Train it: pipeline train --variant {variant}")
    return list(reversed(finished.values()))


class _Measuring:
    """The reference features and the protocol of one dataset, extractor and number of samples."""

    def __init__(self, dataset: Dataset, network: Extractor, options: Options, workspace: Workspace) -> None:
        if options.num_samples < 2:
            raise UserError(f"--num-samples must be at least 2, got {options.num_samples}.")
        self.dataset, self.network, self.options = dataset, network, options
        self.cache = workspace.cache / "features"
        self.indices = np.sort(split(len(dataset.images)).reference[: options.num_samples])
        if len(self.indices) < 2:
            raise UserError(f"Dataset '{dataset.name}' is too small to measure against. Prepare at least 4 images.")
        self.protocol: dict[str, Any] = {
            "dataset": dataset.name,
            "dataset_digest": dataset.digest,
            "reference": f"reference half (split seed {SPLIT_SEED})",
            "num_reference": len(self.indices),
            "num_samples": options.num_samples,
            "sampling_seed": options.seed,
            "checkpoint": "last",
            "generator_mode": "eval",
            "quantisation": "clamp to [-1, 1], round((x + 1) * 127.5), uint8, no file in between",
            **network.protocol,
            "software": ", ".join([f"gan-benchmark {__version__}", *(f"{name} {version(name)}" for name in SOFTWARE)]),
        }

    def measure(self, batches: Iterable[Tensor], name: str, num_images: int | None = None) -> Measurement:
        """Measure uint8 batches [B, 3, H, W]."""
        real = reference_features(
            self.network,
            self.dataset.images,
            dataset_digest=self.dataset.digest,
            indices=self.indices,
            cache=self.cache,
            progress=self.options.show_progress,
        )
        fake = extract_features(
            self.network,
            batches,
            num_images=num_images or self.options.num_samples,
            description=f"{name}: features",
            progress=self.options.show_progress,
        )
        return measure(self.network, real, fake)


def _dataset_of(run: Run, workspace: Workspace) -> Dataset:
    """Return the dataset that a run was trained on; another one of the same name is refused."""
    name, digest = run.tags.get("dataset", ""), run.tags.get("dataset_digest", "")
    dataset = load_dataset(name, workspace.data)
    if dataset.digest != digest:
        raise UserError(
            f"Dataset '{name}' has digest {dataset.digest[:12]}, run {run.run_id} was trained on {digest[:12]}. "
            "Prepare the images that it was trained on."
        )
    return dataset


def _tag(network: Extractor, protocol: Mapping[str, Any]) -> str:
    return f"{EVALUATION}{network.name}.{protocol_hash(protocol)}"


def _earlier(run: Run, network: Extractor, protocol: Mapping[str, Any]) -> Evaluation | None:
    """Return what was measured before under this protocol."""
    text = run.tags.get(_tag(network, protocol))
    return Evaluation(run.run_id, run.name, protocol, json.loads(text)["metrics"], again=True) if text else None


def _store(
    store: Store,
    run_id: str,
    name: str,
    network: Extractor,
    protocol: Mapping[str, Any],
    measurement: Measurement,
    num_measured: int,
) -> Evaluation:
    """Log metrics, rounded for the UI, and metrics with protocol as an artifact and a tag."""
    result = {
        "protocol_hash": protocol_hash(protocol),
        "protocol": dict(protocol),
        "num_measured": num_measured,
        "estimators": dict(measurement.protocol),
        "metrics": dict(measurement.values),
    }
    text = json.dumps(result, indent=2, sort_keys=True)
    writer = store.writer(run_id)
    writer.log_values({f"final/{key}": value for key, value in measurement.values.items()})
    writer.log_text(text, f"evaluation/{network.name}-{result['protocol_hash']}.json")
    writer.set_tags({_tag(network, protocol): json.dumps(result, sort_keys=True)})  # last: it says that all is there
    return Evaluation(run_id, name, protocol, measurement.values, again=False)
