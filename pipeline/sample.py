"""The sample stage: images of a trained generator, as pictures that a person looks at."""

import re
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image

from gan.devices import on_device
from gan.errors import UserError
from gan.files import remove_leftovers, storage_errors, write_atomic
from gan.sampling import TrainedGenerator, load_generator
from pipeline.images import grid, interpolation
from pipeline.publish import GENERATOR
from pipeline.tracking import Run, Stage, Store

SAMPLED = "sampled"  # tag of a run whose pictures are in the store


@dataclass(frozen=True)
class Samples:
    """What was written."""

    directory: Path
    files: tuple[Path, ...]


def require_trained(run: Run) -> None:
    """Raise UserError for a run that is no training or can have no generator."""
    if run.tags.get("stage") != Stage.TRAIN:
        raise UserError(f"--run: {run.run_id} ({run.name}) is not a training run. `pipeline ui` lists them.")
    if run.tags.get("health") == "diverged":
        raise UserError(f"run {run.run_id} ({run.name}) diverged and has no generator. Lower the learning rate.")


def load_trained(run: Run, store: Store, device: torch.device, artifact: str = GENERATOR) -> TrainedGenerator:
    """Return the last generator of a training run, or another one that it keeps, from the tracking store.

    Raises UserError for a run of another kind or without a generator.
    """
    require_trained(run)
    with TemporaryDirectory() as folder:
        return load_generator(store.download(run, artifact, Path(folder)), device)


def sample(
    run_id: str,
    *,
    store: Store,
    num: int = 64,
    seed: int = 0,
    directory: Path,
    single: bool = False,
    device: str = "auto",
) -> Samples:
    """Write a grid of images 0, ..., num - 1 of a seed, an interpolation between latents and, if asked, single PNGs.

    The pictures go to `directory`; the grid and the interpolation to the run as well.
    """
    run = store.get(run_id)
    with on_device(device, "The same command draws them, on another --device too.") as torch_device:
        trained = load_trained(run, store, torch_device)
        images = torch.cat(list(trained.sample(seed=seed, num=num, device=torch_device)))
        between = interpolation(trained, seed, torch_device)

    called = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip("-.")[:100]  # the UI lets anyone rename a run
    name = f"{called or 'run'}-{run_id[:8]}-seed{seed}"  # with the id: runs with other overrides have the same name
    pictures = {
        f"{name}-grid.png": grid(images, columns=max(1, round(num**0.5))),
        f"{name}-interpolation.png": between,
    }
    if single:
        pictures |= {f"{name}/{i:06d}.png": image.permute(1, 2, 0).numpy() for i, image in enumerate(images)}
    remove_leftovers(directory)
    for file, picture in pictures.items():
        with storage_errors(directory):
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(directory / file, Image.fromarray(picture).save)

    writer = store.writer(run_id)
    for file in list(pictures)[:2]:
        writer.log_file(directory / file, "samples")
    writer.set_tags({SAMPLED: f"{num} images of seed {seed}"})
    return Samples(directory, tuple(directory / file for file in pictures))
