"""The train stage: one run of the tracking store per variant and seed."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

import gan
from gan.checkpoints import Checkpoints
from gan.config import Config
from gan.devices import describe, select_device
from gan.errors import Interrupted, UserError
from gan.sampling import TrainedGenerator, save_generator
from gan.training import Outcome
from gan.training import train as train_gan
from pipeline.config import dump_yaml, load_experiment
from pipeline.data.dataset import Dataset, load_dataset
from pipeline.images import grid
from pipeline.observer import TrackingObserver
from pipeline.prepare import prepare
from pipeline.signals import graceful_stop
from pipeline.tracking import Run, RunWriter, Stage, Store
from pipeline.tracking.models import log_models
from pipeline.tracking.runs import end_active_run
from pipeline.workspace import Workspace

GENERATOR = "generator/last.pt"
DEFAULT_DATASET = "avatars"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A run of the train stage that ended. status: finished or diverged. again: it had been done before."""

    run_id: str
    status: str
    again: bool


def train(
    variant: str,
    *,
    store: Store,
    workspace: Workspace,
    data: str = DEFAULT_DATASET,
    seed: int = 0,
    epochs: int | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    show_progress: bool = True,
) -> Trained:
    """Train a variant, go on with its interrupted training, or find that it is done.

    Raises UserError for what the user can correct and Interrupted after Ctrl-C or SIGTERM.
    """
    overrides = [*overrides, *([] if epochs is None else [f"epochs={epochs}"])]
    config = load_experiment(variant, overrides)
    torch_device = select_device(device)
    dataset = find_dataset(data, workspace)
    config_hash = config_hash_of(config, dataset.digest)
    fingerprint = _hash([config_hash, seed])

    earlier = _earlier(store, fingerprint)
    if earlier is not None and earlier.status == "FINISHED":
        return Trained(earlier.run_id, "finished", again=True)
    if earlier is not None and earlier.tags.get("health") == "diverged":
        return Trained(earlier.run_id, "diverged", again=True)
    resume = _resumable(earlier, store, workspace)

    with store.open_run(
        name=f"{config.variant}-s{seed}",
        tags={
            "stage": Stage.TRAIN,
            "variant": config.variant,
            "seed": str(seed),
            "fingerprint": fingerprint,
            "config_hash": config_hash,
            "dataset": dataset.name,
            "dataset_digest": dataset.digest,
            "overrides": " ".join(overrides),
            "device": describe(torch_device),
            "health": "",
        },
        resume=resume,
        description=_description(config, seed, dataset),
    ) as run:
        _log_inputs(run, store, config, dataset)
        observer = TrackingObserver(
            run, store, config, dataset, resumed=resume is not None, show_progress=show_progress
        )
        checkpoints = Checkpoints(workspace.checkpoints / run.run_id, fingerprint)
        checkpoints.directory.mkdir(parents=True, exist_ok=True)
        with FileLock(checkpoints.directory / ".lock"), graceful_stop() as stopping, observer.bar:
            outcome = train_gan(
                config,
                dataset.images,
                seed=seed,
                device=torch_device,
                checkpoints=checkpoints,
                observer=observer,
                stopping=stopping,
            )
        status = _conclude(run, config, outcome, seed, len(dataset.images), checkpoints.directory, torch_device)
    return Trained(run.run_id, status, again=False)


def _conclude(
    run: RunWriter,
    config: Config,
    outcome: Outcome,
    seed: int,
    num_images: int,
    directory: Path,
    device: torch.device,
) -> str:
    """Store how a training ended; return "finished" or "diverged".

    Raises Interrupted where it was stopped.
    """
    if outcome.diverged:
        run.set_tags({"health": "diverged"})
        run.log_values(_costs(outcome, config))
        end_active_run("FAILED")
        return "diverged"
    if not outcome.finished:
        end_active_run("KILLED")
        raise Interrupted(
            f"Stopped at step {outcome.state.step:,} of {config.num_steps(num_images):,}, "
            f"everything stored (run {run.run_id}). The same command goes on from here."
        )
    _publish(run, config, outcome, seed, directory, device)
    return "finished"


def find_dataset(name: str, workspace: Workspace) -> Dataset:
    """Return a prepared dataset; the default one is prepared where it is missing."""
    if name == DEFAULT_DATASET and not (workspace.data / name).exists():
        log.info("No dataset '%s' yet: preparing it.", name)
        return prepare(name=name, root=workspace.data)
    return load_dataset(name, workspace.data)


def config_hash_of(config: Config, dataset_digest: str) -> str:
    """Return a hash of all that decides the result of a training but the seed: configuration, images and code."""
    content = config.to_dict()
    del content["title"]  # words only
    code = hashlib.sha256()
    for path in sorted(Path(gan.__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    return _hash([content, dataset_digest, code.hexdigest()])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _earlier(store: Store, fingerprint: str) -> Run | None:
    """Return the run of this fingerprint that got furthest: a finished one, else the newest."""
    runs = store.find({"stage": Stage.TRAIN, "fingerprint": fingerprint})
    finished = [run for run in runs if run.status == "FINISHED"]
    return next(iter(finished or runs[-1:]), None)


def _resumable(earlier: Run | None, store: Store, workspace: Workspace) -> str | None:
    """Return the run to go on with, or None.

    While another process trains it, `mlflow run` gets an equal run of its own; a plain command is refused.
    """
    if earlier is None or not (workspace.checkpoints / earlier.run_id).exists():
        return None
    try:
        with FileLock(workspace.checkpoints / earlier.run_id / ".lock", blocking=False):
            return earlier.run_id
    except Timeout:
        if store.project_run is not None:
            return None
        raise UserError(
            f"run {earlier.run_id} ({earlier.name}) is being trained by another process. Wait for it or stop it first."
        ) from None


def _description(config: Config, seed: int, dataset: Dataset) -> str:
    num_images = len(dataset.images)
    return (
        f"**{config.title}**, seed {seed}, on `{dataset.name}` ({num_images:,} images, "
        f"digest `{dataset.digest[:12]}`): {config.num_steps(num_images):,} discriminator updates, "
        f"{config.num_generator_updates(num_images):,} generator updates.\n\n"
        "The whole configuration is the artifact `config/resolved.yaml`; "
        "`pipeline train --variant resolved.yaml` repeats this run."
    )


def _log_inputs(run: RunWriter, store: Store, config: Config, dataset: Dataset) -> None:
    run.log_params(  # few: image cards of the UI print every parameter
        {
            "gan.dataset": dataset.name,
            "gan.loss": config.loss,
            "gan.optimizer": config.optimizer.name,
            "gan.lr": config.optimizer.lr,
            "gan.batch_size": config.batch_size,
            "gan.epochs": config.epochs,
        }
    )
    run.log_text(dump_yaml(config), "config/resolved.yaml")
    store.log_dataset(dataset.name, dataset.digest, {"manifest": str(dataset.directory / "manifest.json")})


def _costs(outcome: Outcome, config: Config) -> dict[str, float]:
    state = outcome.state
    return {
        "cost/discriminator_updates": state.step,
        "cost/generator_updates": state.step // config.discriminator_steps,
        "cost/total_images": state.images_seen,
        "cost/generator_parameters": sum(p.numel() for p in state.generator.parameters()),
        "cost/discriminator_parameters": sum(p.numel() for p in state.discriminator.parameters()),
        "time/train_seconds": state.seconds,
        "time/images_per_second": state.images_seen / max(state.seconds, 1e-9),
    }


def _publish(
    run: RunWriter, config: Config, outcome: Outcome, seed: int, directory: Path, device: torch.device
) -> None:
    """Store the costs, the generator, its models and a grid of samples."""
    run.log_values(_costs(outcome, config))
    weights = directory / Path(GENERATOR).name
    save_generator(weights, config, outcome.state.step, outcome.state.generator)
    run.log_file(weights, str(Path(GENERATOR).parent))
    trained = TrainedGenerator(config, outcome.state.step, outcome.state.generator)
    (samples,) = trained.sample(seed=seed, num=64, device=device)
    run.log_image(grid(samples), "final/samples")
    log_models(trained, weights)
