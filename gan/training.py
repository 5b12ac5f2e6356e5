"""The training loop: from the newest checkpoint to the last step, telling an observer what happens."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gan.checkpoints import Checkpoints
from gan.config import Config
from gan.devices import memory_errors
from gan.errors import NotFiniteError, UserError
from gan.feed import Feed, Inputs
from gan.graphs import RecordedSteps
from gan.health import clipped_share, diversity
from gan.precision import autocast, resolve_precision
from gan.randomness import sample_latents
from gan.sampling import decode
from gan.state import State, build
from gan.step import Rates, clipped_parameters, train_step, updates_generator

NUM_POINTS = 500  # of each curve, at most
NUM_GRIDS = 25  # grids of fixed latents after the one of step 0, at most, but for that of the last step
NUM_FIXED = 64  # images in a grid
FIXED_SEED = 0  # of their latents: the same for every variant and training seed, so that grids can be compared
CHECKPOINT_SECONDS = 60.0


class Observer(Protocol):
    """Whom the loop tells what happens. Everything told before `flush` returns must survive a kill."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take points of curves: means since the last point, or values of this step."""

    def samples(self, step: int, images: Tensor) -> None:
        """Take the images of the fixed latents, uint8 [NUM_FIXED, 3, H, W]."""

    def progress(self, step: int, num_images: int) -> None:
        """Take note of one step of so many real images."""

    def flush(self) -> None:
        """Store what was taken."""


@dataclass(frozen=True)
class Evaluation:
    """Measuring the generator during training, to keep the best one.

    steps: when; before the first step it is measured too, for the curves alone. measure: from a generator to points of
    curves, by name. decides: the curve whose least value is best.
    """

    steps: Collection[int]
    measure: Callable[[nn.Module], Mapping[str, float]]
    decides: str


@dataclass(frozen=True)
class Outcome:
    """How a training ended: finished, interrupted (a checkpoint holds it) or diverged (a value is not finite)."""

    state: State
    finished: bool
    diverged: bool


def train(
    config: Config,
    images: np.ndarray,
    *,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints,
    observer: Observer,
    stopping: Callable[[], bool] = lambda: False,
    evaluation: Evaluation | None = None,
    dtype: torch.dtype = torch.float32,
) -> Outcome:
    """Train to the end, from the newest checkpoint where there is one.

    images: uint8 [N, 64, 64, 3]. stopping: asked after every step; once true, a checkpoint is written and the
    loop returns. Raises UserError where the images do not fit the networks, a checkpoint the configuration, or the
    batches the memory.
    """
    if images.shape[1:] != (64, 64, 3):
        raise UserError(
            f"The networks need images of 64 x 64 x 3, the dataset has {' x '.join(map(str, images.shape[1:]))}. "
            "Prepare it with --image-size 64."
        )
    with memory_errors(device, config.batch_size):
        loop = _Loop.begin(config, images, seed, device, dtype, checkpoints, observer)
        return loop.run(stopping, evaluation)


def steps_of(config: Config, state: State, num_steps: int, device: torch.device) -> Callable[[Inputs], None]:
    """Return what runs one step: as it is written on a processor, recorded on CUDA."""
    rates = Rates(config, num_steps, device)
    precision = autocast(resolve_precision(config.precision, device), device)

    def step(inputs: Inputs) -> None:
        train_step(config, state, inputs, rates, precision)

    def eager(inputs: Inputs) -> None:
        torch.manual_seed(inputs.noise_seed)  # dropout
        step(inputs)

    run = RecordedSteps(step, state, partial(updates_generator, config)) if device.type == "cuda" else eager

    def scheduled(inputs: Inputs) -> None:
        rates.set(state, inputs.step)
        run(inputs)

    return scheduled


@dataclass
class _Loop:
    """What the loop needs all the time."""

    config: Config
    device: torch.device
    checkpoints: Checkpoints
    observer: Observer
    state: State
    feed: Feed
    num_steps: int
    fixed_latents: Tensor
    real_diversity: float
    started: float = 0.0  # on the clock: now minus the seconds of training so far

    @staticmethod
    def begin(
        config: Config,
        images: np.ndarray,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        checkpoints: Checkpoints,
        observer: Observer,
    ) -> "_Loop":
        """Build the networks, or load them from the newest checkpoint."""
        state = build(config, seed, device, dtype)
        feed = Feed(images, config, seed, device)
        some = torch.from_numpy(np.array(images[: 16 * NUM_FIXED])).permute(0, 3, 1, 2)
        loop = _Loop(
            config, device, checkpoints, observer, state, feed,
            num_steps=config.num_steps(len(images)),
            fixed_latents=sample_latents(FIXED_SEED, range(NUM_FIXED), config.latent_size),
            real_diversity=max(diversity(some), 1e-9),
        )  # fmt: skip
        if (checkpoint := checkpoints.load_latest()) is not None:
            try:
                state.load_dict(checkpoint)
            except (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):  # the device's, not the file's
                raise
            except Exception as error:  # of many types: what is in the file decides what fails
                raise UserError(
                    f"{checkpoints.directory}: the newest checkpoint does not fit the networks "
                    f"({type(error).__name__}): something else wrote it. Delete the folder to start again."
                ) from error
        return loop

    def run(self, stopping: Callable[[], bool], evaluation: Evaluation | None) -> Outcome:
        """Take the remaining steps."""
        state, num_steps = self.state, self.num_steps
        self.started, saved = time.perf_counter() - state.seconds, time.perf_counter()
        if state.step == 0:
            self.draw()
            if evaluation is not None:
                self.evaluate(evaluation)
        point_every = max(1, num_steps // NUM_POINTS)
        grid_every = nice_interval(num_steps / NUM_GRIDS)
        take = steps_of(self.config, state, num_steps, self.device)
        diverged = False
        feed = self.feed.steps(state.step + 1, num_steps)
        for inputs in feed:
            take(inputs)
            step = state.step = inputs.step
            state.images_seen += len(inputs.pixels)
            self.observer.progress(step, len(inputs.pixels))

            if step % point_every == 0 or step == num_steps:
                diverged = not self.point()
            evaluated = evaluation is not None and step in evaluation.steps and not diverged
            try:
                if (step % grid_every == 0 or step == num_steps) and not diverged:
                    self.draw()
                if evaluation is not None and evaluated:
                    self.evaluate(evaluation)
            except NotFiniteError:  # the losses may be finite still
                diverged = True

            stop = stopping()
            due = evaluated or time.perf_counter() - saved > CHECKPOINT_SECONDS
            if stop or due or diverged or step == num_steps:
                state.seconds = self.seconds()
                self.observer.flush()  # before the checkpoint: what it has passed is in the store, without a gap
                self.checkpoints.save(step, state.to_dict(), best_step=state.best_step)
                saved = time.perf_counter()
            if stop or diverged:
                feed.close()
        return Outcome(state, finished=state.step == num_steps and not diverged, diverged=diverged)

    def seconds(self) -> float:
        """Return how long the training took so far, without drawing and measuring."""
        return time.perf_counter() - self.started

    def point(self) -> bool:
        """Tell the means since the last point; return whether all of them are finite."""
        values = take_means(self.config, self.state)
        if self.config.weight_clip is not None:
            clipped = clipped_parameters(self.state.discriminator, self.config)
            values["health/clipped_share"] = clipped_share(clipped, self.config.weight_clip)
        self._tell(values)
        return bool(np.isfinite(list(values.values())).all())

    def draw(self) -> None:
        """Tell the images of the fixed latents and how much they differ, in units of real images' difference."""
        with self._paused():
            images = decode(self.state.sampled, self.fixed_latents, self.device)
            self.observer.samples(self.state.step, images)
        self._tell({"health/diversity": diversity(images) / self.real_diversity})

    def evaluate(self, evaluation: Evaluation) -> None:
        """Measure the generator and remember whether it is the best so far; an untrained one never is."""
        with self._paused():
            values = evaluation.measure(self.state.sampled)
        self._tell(values)
        value = values[evaluation.decides]
        if self.state.step > 0 and value < self.state.best_value:
            self.state.best_value, self.state.best_step = value, self.state.step

    def _tell(self, values: Mapping[str, float]) -> None:
        self.state.last |= values
        self.observer.scalars(self.state.step, {**values, "time/seconds": self.seconds()})

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Stop the clock of the training, since what looks at it is no part of its cost."""
        seconds = self.seconds()
        yield
        self.started = time.perf_counter() - seconds


def nice_interval(least: float) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, 50, ... that is at least so much: runs of other lengths share steps."""
    interval, factors = 1, cycle((2.0, 2.5, 2.0))
    while interval < least:
        interval = round(interval * next(factors))
    return interval


def take_means(config: Config, state: State) -> dict[str, float]:
    """Return the means of the scalars since the last call, leaving out what did not occur, and start anew."""
    since, now, every = state.summed_from, state.step, config.discriminator_steps
    counts = [now - since] * len(state.scalars.discriminator)
    counts += [now // every - since // every] * len(state.scalars.generator)
    sums = state.sums.tolist()
    state.sums.zero_()
    state.summed_from = now
    names = state.scalars.names
    return {name: total / count for name, total, count in zip(names, sums, counts, strict=True) if count > 0}


def best_generator(state: State, checkpoints: Checkpoints) -> nn.Module | None:
    """Return the generator of the best evaluation, or None where there was none or its checkpoint is damaged."""
    content = checkpoints.load(state.best_step) if state.best_step else None
    if content is None:
        return None
    network = deepcopy(state.sampled)
    try:
        network.load_state_dict(content["generator" if state.average is None else "average"])
    except Exception:  # of many types: what is in the file decides what fails
        return None
    return network
