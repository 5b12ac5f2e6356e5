"""What simulated cells store, made once and as large as the real thing, and when they store it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import torch
from torch import Tensor

from gan.checkpoints import Checkpoints
from gan.config import Config
from gan.sampling import TrainedGenerator, save_generator
from gan.state import State, build
from gan.training import NUM_FIXED, NUM_GRIDS, NUM_POINTS, nice_interval
from pipeline.config import load_experiment
from pipeline.data.dataset import Dataset
from pipeline.selection import selection_steps
from pipeline.tracking.models import log_models

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pace:
    """How long a cell would compute. share_every: seconds between checkpoints in the store; 0: none."""

    train_seconds: float
    evaluate_seconds: float
    share_every: float


@dataclass(frozen=True)
class Materials:
    """What cells store, made once, as large as the real thing. models: folders that MLflow's flavours wrote."""

    variant: str
    config: Config
    state: State
    dataset: Dataset
    checkpoint: Path
    models: Path
    images: Tensor
    every_epochs: float

    @property
    def num_steps(self) -> int:
        """Steps of a training."""
        return self.config.num_steps(len(self.dataset.images))

    def numbers(self, step: int, event: str) -> dict[str, float]:
        """Return points of curves, by name, that no two steps share."""
        names = {
            "point": self.state.scalars.names,
            "grid": ("health/diversity",),
            "evaluation": ("curve/fd_efficientnet_lite0", "curve/kd_efficientnet_lite0"),
        }[event]
        random = np.random.default_rng(step)
        return {name: float(random.normal()) for name in (*names, "time/seconds")}


Event = tuple[float, int, str]
"""Second, step, and what happens then: point, grid, evaluation or checkpoint (one that goes to the store)."""


def events(materials: Materials, pace: Pace) -> Iterator[Event]:
    """Yield what happens in a training, as the real loop has it."""
    steps = materials.num_steps
    point_every, grid_every = max(1, steps // NUM_POINTS), nice_interval(steps / NUM_GRIDS)
    evaluations = set(selection_steps(materials.config, len(materials.dataset.images), materials.every_epochs))
    shared = 0.0
    yield from ((0.0, 0, "grid"), (0.0, 0, "evaluation"))
    for step in range(1, steps + 1):
        second, last = pace.train_seconds * step / steps, step == steps
        if step % point_every == 0 or last:
            yield second, step, "point"
        if step % grid_every == 0 or last:
            yield second, step, "grid"
        if step in evaluations:
            yield second, step, "evaluation"
        if pace.share_every and second - shared >= pace.share_every and not last:
            shared = second
            yield second, step, "checkpoint"


def make_materials(folder: Path, variant: str, num_images: int, every_epochs: float) -> Materials:
    """Make the networks of a variant, a checkpoint and the published models."""
    config = load_experiment(variant)
    state = build(config, 0, CPU)
    networks = ((state.generator, state.generator_optimizer), (state.discriminator, state.discriminator_optimizer))
    for network, optimizer in networks:
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()  # now its moments are in the checkpoint
    Checkpoints(folder / "checkpoint", "").save(0, state.to_dict())
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (NUM_FIXED, 3, 64, 64), dtype=torch.uint8, generator=generator)
    pixels = np.broadcast_to(np.uint8(0), (num_images, 64, 64, 3))
    dataset = Dataset("simulated", folder, pixels, pixels[:0], "0" * 64, {})
    (checkpoint,) = (folder / "checkpoint").glob("*.pt")
    (folder / "models").mkdir()
    materials = Materials(variant, config, state, dataset, checkpoint, folder / "models", images, every_epochs)
    _save_models(materials, folder)
    return materials


def _save_models(materials: Materials, folder: Path) -> None:
    """Publish models once, to a store that nobody reads, and take what is saved from there."""
    weights = folder / "last.pt"
    save_generator(weights, materials.config, 0, materials.state.generator)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'unread.db'}")
    experiment = mlflow.create_experiment("unread", artifact_location=(folder / "unread").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        log_models(TrainedGenerator(materials.config, 0, materials.state.generator), weights)
    mlflow.set_tracking_uri(before)
    for saved in folder.glob("unread/models/*/artifacts"):
        saved.rename(materials.models / ("sampler" if (saved / "code").exists() else "generator"))
