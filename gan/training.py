"""The training loop."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gan.checkpoints import Checkpoints
from gan.config import Config
from gan.errors import UserError
from gan.initializations import INITIALIZATIONS
from gan.losses import LOSSES
from gan.models import Discriminator
from gan.randomness import Stream, epoch_order, sample_latents, step_latents, torch_seed
from gan.sampling import decode

NUM_POINTS = 500  # of each curve, at most
NUM_GRIDS = 20  # grids of fixed latents after the one of step 0, at most
NUM_FIXED = 64  # images in a grid
CHECKPOINT_SECONDS = 60.0


class Observer(Protocol):
    """Whom the loop tells what happens. Everything told before `flush` returns must survive a kill."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take the means since the last call."""

    def samples(self, step: int, images: Tensor) -> None:
        """Take the images of the fixed latents, uint8 [NUM_FIXED, 3, H, W]."""

    def progress(self, step: int, num_images: int) -> None:
        """Take note of one step of so many real images."""

    def flush(self) -> None:
        """Store what was taken."""


@dataclass
class State:
    """What changes during training: all of it, so that a checkpoint needs nothing else.

    sums, counts: of the scalars since the last point of the curves, float64 [len(SCALARS)].
    """

    generator: nn.Module
    discriminator: Discriminator
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    sums: Tensor
    counts: Tensor
    step: int = 0
    images_seen: int = 0
    seconds: float = 0.0

    _STATEFUL = ("generator", "discriminator", "generator_optimizer", "discriminator_optimizer")
    _TENSORS = ("sums", "counts")
    _NUMBERS = ("step", "images_seen", "seconds")

    def to_dict(self) -> dict[str, Any]:
        """Return tensors and plain values."""
        content: dict[str, Any] = {name: getattr(self, name).state_dict() for name in self._STATEFUL}
        return content | {name: getattr(self, name) for name in (*self._TENSORS, *self._NUMBERS)}

    def load_dict(self, content: Mapping[str, Any]) -> None:
        """Become what `to_dict` returned."""
        for name in self._STATEFUL:
            getattr(self, name).load_state_dict(content[name])
        for name in self._TENSORS:
            getattr(self, name).copy_(content[name])
        for name in self._NUMBERS:
            setattr(self, name, content[name])


SCALARS = ("loss_discriminator", "loss_generator", "real_output", "fake_output")


@dataclass(frozen=True)
class Outcome:
    """How a training ended: finished, interrupted (a checkpoint holds it) or diverged (a loss is not finite)."""

    state: State
    finished: bool
    diverged: bool


def build(config: Config, seed: int, device: torch.device, dtype: torch.dtype = torch.float32) -> State:
    """Return networks with initial weights that depend on the seed alone, and their optimizers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.WEIGHTS))
        generator = config.generator.build(config.latent_size)
        discriminator = config.discriminator.build(LOSSES[config.loss].output())
        for network in (generator, discriminator):
            network.apply(INITIALIZATIONS[config.initialization])
    for network in (generator, discriminator):
        network.to(device, dtype).to(memory_format=torch.channels_last)
    return State(
        generator,
        discriminator,
        config.optimizer.build(generator.parameters()),
        config.optimizer.build(discriminator.parameters()),
        sums=torch.zeros(len(SCALARS), dtype=torch.float64, device=device),
        counts=torch.zeros(len(SCALARS), dtype=torch.float64, device=device),
    )


@dataclass
class RealImages:
    """Batches of the dataset in the order of (seed, epoch), a function of the step alone.

    images: uint8 [N, H, W, 3], a memory map or an array.
    """

    images: np.ndarray
    config: Config
    seed: int
    device: torch.device
    dtype: torch.dtype = torch.float32
    _epoch: int = -1
    _order: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def batch(self, step: int) -> Tensor:
        """Return the real images [B, 3, H, W] in [-1, 1], of step 1, 2, ..."""
        epoch, position = divmod(step - 1, self.config.steps_per_epoch(len(self.images)))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, epoch_order(self.seed, epoch, len(self.images))
        start = position * self.config.batch_size
        chosen = np.sort(self._order[start : start + self.config.batch_size])  # sorted: the disk reads forwards
        pixels = torch.from_numpy(self.images[chosen]).to(self.device)
        return pixels.permute(0, 3, 1, 2).to(self.dtype).div(127.5).sub(1)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without computing those of its parameters."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def train_step(config: Config, state: State, real: Tensor, seed: int) -> None:
    """Update the discriminator on real images [B, 3, H, W] and, every `discriminator_steps`, the generator."""
    step = state.step + 1
    loss = LOSSES[config.loss]
    updates_generator = step % config.discriminator_steps == 0
    torch.manual_seed(torch_seed(seed, Stream.NOISE, step))  # dropout

    def fakes(stream: Stream) -> Tensor:
        latents = step_latents(seed, stream, step, len(real), config.latent_size)
        images: Tensor = state.generator(latents.to(real))
        return images

    with torch.set_grad_enabled(updates_generator and not config.fresh_latents):
        fake = fakes(Stream.LATENTS)

    real_logits = state.discriminator.logits(real)
    fake_logits = state.discriminator.logits(fake.detach())
    discriminator_loss = loss.discriminator(real_logits, fake_logits)
    state.discriminator_optimizer.zero_grad(set_to_none=True)
    discriminator_loss.backward()  # type: ignore[no-untyped-call]
    state.discriminator_optimizer.step()
    if config.weight_clip is not None:
        clip_weights(state.discriminator, config.weight_clip)

    generator_loss = torch.zeros_like(discriminator_loss)
    if updates_generator:
        if config.fresh_latents:
            fake = fakes(Stream.FRESH_LATENTS)
        with frozen(state.discriminator):
            generator_loss = loss.generator(state.discriminator.logits(fake))
            state.generator_optimizer.zero_grad(set_to_none=True)
            generator_loss.backward()  # type: ignore[no-untyped-call]
        state.generator_optimizer.step()

    with torch.no_grad():
        output = state.discriminator.output
        values = (discriminator_loss, generator_loss, output(real_logits).mean(), output(fake_logits).mean())
        state.sums += torch.stack(values).detach().double()
        state.counts += torch.tensor([1, updates_generator, 1, 1], device=state.counts.device)
    state.step = step
    state.images_seen += len(real)


@torch.no_grad()
def clip_weights(network: nn.Module, limit: float) -> None:
    """Clamp every parameter to [-limit, limit] (Arjovsky et al. 2017, algorithm 1, line 7)."""
    for parameter in network.parameters():
        parameter.clamp_(-limit, limit)


def train(
    config: Config,
    images: np.ndarray,
    *,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints,
    observer: Observer,
    stopping: Callable[[], bool] = lambda: False,
    dtype: torch.dtype = torch.float32,
) -> Outcome:
    """Train to the end, from the newest checkpoint where there is one.

    images: uint8 [N, 64, 64, 3]. stopping: asked after every step; once true, a checkpoint is written and the
    loop returns. Raises UserError where the images do not fit the networks or a checkpoint the configuration.
    """
    if images.shape[1:] != (64, 64, 3):
        raise UserError(
            f"The networks need images of 64 x 64 x 3, the dataset has {' x '.join(map(str, images.shape[1:]))}. "
            "Prepare it with --image-size 64."
        )
    num_steps = config.num_steps(len(images))
    point_every = max(1, num_steps // NUM_POINTS)
    grid_steps = {round(num_steps * (i + 1) / NUM_GRIDS) for i in range(NUM_GRIDS)}
    real_images = RealImages(images, config, seed, device, dtype)
    fixed_latents = sample_latents(seed, range(NUM_FIXED), config.latent_size)

    state = build(config, seed, device, dtype)
    checkpoint = checkpoints.load_latest()
    if checkpoint is not None:
        state.load_dict(checkpoint)
    else:
        observer.samples(0, decode(state.generator, fixed_latents, device))

    started = time.perf_counter() - state.seconds
    saved = time.perf_counter()
    diverged = False
    while state.step < num_steps and not diverged:
        train_step(config, state, real_images.batch(state.step + 1), seed)
        step = state.step
        observer.progress(step, config.batch_size)

        if step % point_every == 0 or step == num_steps:
            means = take_means(state)
            diverged = not all(np.isfinite(list(means.values())))
            observer.scalars(step, means)
        if step in grid_steps:
            observer.samples(step, decode(state.generator, fixed_latents, device))

        stop = stopping()
        if stop or diverged or step == num_steps or time.perf_counter() - saved > CHECKPOINT_SECONDS:
            state.seconds = time.perf_counter() - started
            observer.flush()  # before the checkpoint: what it has passed is in the store, without a gap
            checkpoints.save(step, state.to_dict())
            saved = time.perf_counter()
        if stop:
            break
    return Outcome(state, finished=state.step == num_steps and not diverged, diverged=diverged)


def take_means(state: State) -> dict[str, float]:
    """Return the means of the scalars since the last call, leaving out what did not occur, and start anew."""
    counts, sums = state.counts.tolist(), state.sums.tolist()
    state.counts.zero_()
    state.sums.zero_()
    return {name: total / count for name, total, count in zip(SCALARS, sums, counts, strict=True) if count > 0}
