"""Speed of a whole evaluation: ours and torch-fidelity's, of the same generator and images, interleaved.

python benchmarks/evaluate.py --num-samples 1000
"""

import os
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
import pandas as pd
import torch
import torch_fidelity.metrics
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from gan.config import Config
from gan.devices import describe, keep_freed_memory, select_device
from gan.errors import UserError
from gan.sampling import TrainedGenerator, load_generator
from pipeline.config import load_experiment
from pipeline.data.dataset import Dataset
from pipeline.metrics.distances import frechet_distance, kernel_distance
from pipeline.metrics.extractors import EXTRACTORS, extract_features, load_extractor
from pipeline.metrics.inception import WEIGHTS_VARIABLE
from pipeline.metrics.manifold import manifold
from pipeline.metrics.reference import reference_features
from pipeline.prepare import prepare

LAYERS = {"inception": "2048", "inception768": "768"}  # those that torch-fidelity has, too
STAGES = ("network", "features", "Frechet", "kernel", "precision/recall")
THEIR_STAGES = {
    "create_feature_extractor": "network",
    "extract_featuresdict_from_input_id_cached": "features",
    "fid_featuresdict_to_statistics_cached": "Frechet",
    "fid_statistics_to_metric": "Frechet",
    "kid_featuresdict_to_metric": "kernel",
    "prc_featuresdict_to_metric": "precision/recall",
}


@dataclass(frozen=True)
class Task:
    """What is measured. extractor: a key of EXTRACTORS; weights: its file, where it is not the default one."""

    generator: TrainedGenerator
    dataset: Dataset
    num_samples: int
    extractor: str
    weights: Path | None
    device: torch.device

    @property
    def indices(self) -> np.ndarray:
        """The real images: as many as generated ones, if there are."""
        return np.arange(min(self.num_samples, len(self.dataset.images)))

    def samples(self) -> Iterator[Tensor]:
        """Yield the generated images in batches."""
        return self.generator.sample(seed=0, num=self.num_samples, device=self.device)


@dataclass(frozen=True)
class Numbers:
    """The values of an evaluation."""

    frechet_distance: float
    kernel_distance: float
    precision: float
    recall: float


@dataclass
class Stopwatch:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to a stage. Features and numbers are on the host: no device is still at work."""
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, whose time counts for a stage."""

        def call(*arguments: Any, **options: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **options)

        return call


class Images(TorchDataset[Tensor]):
    """What torch-fidelity takes: uint8 [3, H, W], one by one."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


Mode = Callable[[Stopwatch], Numbers]


@click.command()
@click.option("--num-samples", type=click.IntRange(10), default=1000, show_default=True, help="Generated images.")
@click.option("--data", default="avatars", show_default=True, help="Source of as many real images.")
@click.option("--generator", "file", type=click.Path(path_type=Path), help="[default: dcgan's, untrained]")
@click.option("--extractor", type=click.Choice(sorted(EXTRACTORS)), help="[default: inception, or inception768]")
@click.option("--weights", type=click.Path(path_type=Path), help="Of the extractor.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="The median of them counts.")
@click.option("--device", default="auto", show_default=True)
def main(
    num_samples: int, data: str, file: Path | None, extractor: str | None, weights: Path | None, rounds: int,
    device: str,
) -> None:  # fmt: skip
    """Print images per second, seconds of each stage, and the values, which have to be equal."""
    torch_device = select_device(device)
    name = extractor or complete_inception(weights, torch_device)
    generator = load_generator(file, torch_device) if file else untrained(load_experiment("dcgan"), torch_device)
    print(f"{describe(torch_device)}, torch {torch.__version__}, {name}, {num_samples} generated images")
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare((data,), name="images", num_images=num_samples, root=Path(folder) / "data")
        task = Task(generator, dataset, num_samples, name, weights, torch_device)
        modes = modes_of(task, Path(folder) / "cache")
        seconds, numbers = interleave(modes, rounds)
    print(table(seconds, numbers, num_samples).to_markdown(floatfmt=".6g"))


def complete_inception(weights: Path | None, device: torch.device) -> str:
    """Return the extractor that the weights are good for."""
    try:
        return load_extractor("inception", weights=weights, device=device).name
    except UserError:
        return "inception768"


def untrained(config: Config, device: torch.device) -> TrainedGenerator:
    """Return a generator with its initial weights."""
    torch.manual_seed(0)
    network = config.generator.build(config.latent_size).to(device).to(memory_format=torch.channels_last)
    return TrainedGenerator(config, 0, network.eval())


def modes_of(task: Task, cache: Path) -> dict[str, Mode]:
    """Return the evaluations to be compared, in their order: the last one finds the reference of the one before."""
    modes: dict[str, Mode] = {}
    if task.extractor in LAYERS:
        modes["torch-fidelity"] = lambda stopwatch: theirs(task, stopwatch)

    def first(stopwatch: Stopwatch) -> Numbers:
        shutil.rmtree(cache, ignore_errors=True)
        return ours(task, cache, stopwatch)

    modes["ours, first"] = first
    modes["ours, reference cached"] = lambda stopwatch: ours(task, cache, stopwatch)
    return modes


def ours(task: Task, cache: Path, stopwatch: Stopwatch) -> Numbers:
    """Evaluate as `pipeline evaluate` does: from the generator to numbers, without a file in between."""
    with stopwatch.stage("network"):
        extractor = load_extractor(task.extractor, weights=task.weights, device=task.device)
    with stopwatch.stage("features"):
        dataset = task.dataset
        real = reference_features(
            extractor, dataset.images, dataset_digest=dataset.digest, indices=task.indices, cache=cache, progress=False
        )
        num, samples = task.num_samples, task.samples()
        fake = extract_features(extractor, samples, num_images=num, description="generated images", progress=False)
    with stopwatch.stage("Frechet"):
        frechet = frechet_distance(real, fake)
    with stopwatch.stage("kernel"):
        kernel = kernel_distance(fake, real, seed=2020).mean  # torch-fidelity's seed, and its order of drawing
    with stopwatch.stage("precision/recall"):
        found = manifold(real, fake, device=task.device)
    return Numbers(frechet, kernel, found.precision.value, found.recall.value)


def theirs(task: Task, stopwatch: Stopwatch) -> Numbers:
    """Evaluate as torch-fidelity's manual does, with its default settings."""
    with stopwatch.stage("features"):
        fake = Images(torch.cat(list(task.samples())))
    real = Images(torch.from_numpy(task.dataset.images[task.indices]).permute(0, 3, 1, 2).contiguous())
    weights = task.weights or os.environ.get(WEIGHTS_VARIABLE)
    with ExitStack() as stack:
        for name, stage in THEIR_STAGES.items():
            timed = stopwatch.timed(stage, getattr(torch_fidelity.metrics, name))
            stack.enter_context(mock.patch.object(torch_fidelity.metrics, name, timed))
        values = torch_fidelity.metrics.calculate_metrics(
            input1=fake, input2=real, fid=True, kid=True, prc=True, cuda=task.device.type == "cuda", verbose=False,
            kid_subset_size=min(1000, len(fake), len(real)), feature_extractor="inception-v3-compat",
            feature_extractor_weights_path=str(weights) if weights else None,
            **{f"feature_layer_{metric}": LAYERS[task.extractor] for metric in ("fid", "kid", "prc")},
        )  # fmt: skip
    return Numbers(
        values["frechet_inception_distance"], values["kernel_inception_distance_mean"],
        values["precision"], values["recall"],
    )  # fmt: skip


def interleave(modes: dict[str, Mode], rounds: int) -> tuple[dict[str, list[dict[str, float]]], dict[str, Numbers]]:
    """Return the seconds by stage of each mode, round by round, and its values."""
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in modes}
    numbers: dict[str, Numbers] = {}
    for _ in range(rounds):
        for name, evaluate in modes.items():
            keep_freed_memory(*((2**25, 2**26) if name == "torch-fidelity" else ()))  # theirs: glibc's own settings
            stopwatch = Stopwatch()
            numbers[name] = evaluate(stopwatch)
            seconds[name].append(stopwatch.seconds)
            print(f"{name}: {sum(stopwatch.seconds.values()):,.1f} s", flush=True)
    return seconds, numbers


def table(seconds: dict[str, list[dict[str, float]]], numbers: dict[str, Numbers], num_samples: int) -> pd.DataFrame:
    """Return a column a mode: speed, seconds of each stage, values."""
    columns: dict[str, dict[str, float]] = {}
    totals = {name: statistics.median(sum(each.values()) for each in taken) for name, taken in seconds.items()}
    for name, taken in seconds.items():
        columns[name] = {
            "images per second": num_samples / totals[name],
            "times as fast": next(iter(totals.values())) / totals[name],
            "seconds": totals[name],
            **{stage: statistics.median(each[stage] for each in taken) for stage in STAGES},
            **vars(numbers[name]),
        }
    return pd.DataFrame(columns)


if __name__ == "__main__":
    main()
