"""What a finished training leaves in its run: costs, generators, models, samples."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from gan.checkpoints import Checkpoints
from gan.config import Config
from gan.sampling import TrainedGenerator, save_generator
from gan.training import FIXED_SEED, NUM_FIXED, Outcome, best_generator
from pipeline.images import grid, interpolation
from pipeline.tracking import INTERPOLATION_FILE, SAMPLES_CARD, SAMPLES_FILE, RunWriter
from pipeline.tracking.models import log_models

GENERATOR = "generator/last.pt"
BEST_GENERATOR = "generator/best.pt"
BEST_STEP = "best_step"  # tag: when the best generator was; the last one where there was no choice


@dataclass(frozen=True)
class Training:
    """What a run trains."""

    config: Config
    seed: int
    num_images: int
    device: torch.device
    checkpoints: Checkpoints


def costs(outcome: Outcome, config: Config) -> dict[str, float]:
    """Return what a training cost, by the names of its metrics."""
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


def publish(run: RunWriter, training: Training, outcome: Outcome) -> None:
    """Store the costs, the last and the best generator, and of the last one the models, samples and an interpolation.

    The samples are of the same latents for every variant and training seed.
    """
    config, state = training.config, outcome.state
    run.log_values(costs(outcome, config))
    if (best := best_generator(state, training.checkpoints)) is not None:
        _store_generator(run, training, BEST_GENERATOR, state.best_step, best)
        run.set_tags({BEST_STEP: state.best_step})
    weights = _store_generator(run, training, GENERATOR, state.step, state.sampled)
    trained = TrainedGenerator(config, state.step, state.sampled)
    (samples,) = trained.sample(seed=FIXED_SEED, num=NUM_FIXED, device=training.device)
    run.log_image(grid(samples), SAMPLES_FILE)
    run.log_image_card(grid(samples), SAMPLES_CARD)
    run.log_image(interpolation(trained, FIXED_SEED, training.device), INTERPOLATION_FILE)
    log_models(trained, weights)


def _store_generator(run: RunWriter, training: Training, artifact: str, step: int, network: nn.Module) -> Path:
    path = training.checkpoints.directory / Path(artifact).name
    save_generator(path, training.config, step, network)
    run.log_file(path, str(Path(artifact).parent))
    return path
