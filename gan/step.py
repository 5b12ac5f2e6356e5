"""One step of the adversarial game: a discriminator update and, every `discriminator_steps`, a generator update.

Nothing here reads a value back from the device, so that a step can be recorded once and replayed (gan.graphs).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gan.averaging import decay_at, update_average
from gan.config import Config
from gan.feed import Inputs
from gan.health import gradient_norms, saturation
from gan.losses import LOSSES
from gan.precision import Autocast
from gan.state import State

NORMALIZATIONS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass
class Rates:
    """What a schedule says for one step. Tensors on CUDA, where a recorded step reads them, else numbers.

    average: the weight of the present generator in its moving average.
    """

    config: Config
    num_steps: int
    device: torch.device
    average: Tensor = field(init=False)
    _rate: float = field(init=False)

    def __post_init__(self) -> None:
        self.average = torch.zeros((), device=self.device)
        self._rate = self.config.optimizer.lr  # what the optimizers were built with

    def set(self, state: State, step: int) -> None:
        """Set the learning rates and the weight of the moving average for a step."""
        rate = self.config.optimizer.lr * self.config.schedule.factor(step, self.num_steps)
        if rate != self._rate:
            for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
                _set_rate(optimizer, rate)
            self._rate = rate
        if self.config.ema_decay is not None:
            update = step // self.config.discriminator_steps
            self.average.fill_(1 - decay_at(update, self.config.ema_decay))


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without computing those of its parameters."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)


def updates_generator(config: Config, step: int) -> bool:
    """Return whether a step (from 1) updates the generator."""
    return step % config.discriminator_steps == 0


def to_images(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Map uint8 [B, H, W, 3] to [B, 3, H, W] in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).to(dtype).div(127.5).sub(1)


def train_step(config: Config, state: State, inputs: Inputs, rates: Rates, autocast: Autocast) -> None:
    """Update the discriminator on real and fake images and, where it is time, the generator; add to `state.sums`."""
    loss = LOSSES[config.loss]
    dtype = next(state.generator.parameters()).dtype
    with_generator = updates_generator(config, inputs.step)
    real = to_images(inputs.pixels, dtype)

    with torch.set_grad_enabled(with_generator and not config.fresh_latents), autocast():
        fake = state.generator(inputs.latents.to(dtype)).to(dtype)
    with autocast():
        real_logits = state.discriminator.logits(real)
        fake_logits = state.discriminator.logits(fake.detach())
        discriminator_loss = loss.discriminator(real_logits, fake_logits)
        penalized_loss = discriminator_loss
        if config.gradient_penalty is not None:
            logits_of = state.discriminator.logits
            uniform = inputs.uniform.to(dtype)
            penalty = config.gradient_penalty.penalty(logits_of, real, fake.detach(), uniform)
            penalized_loss = discriminator_loss + penalty
    state.discriminator_optimizer.zero_grad(set_to_none=True)
    penalized_loss.backward()  # type: ignore[no-untyped-call]
    state.discriminator_optimizer.step()
    if config.weight_clip is not None:
        clip_weights(clipped_parameters(state.discriminator, config), config.weight_clip)
    output = state.discriminator.output
    measured = [discriminator_loss, output(real_logits).mean(), output(fake_logits).mean()]
    measured += [saturation(loss, real_logits, fake_logits)]
    measured += gradient_norms(state.discriminator, state.scalars.layers_discriminator)

    if with_generator:
        with frozen(state.discriminator), autocast():
            if config.fresh_latents:
                fake = state.generator(inputs.fresh_latents.to(dtype)).to(dtype)
            generator_loss = loss.generator(state.discriminator.logits(fake))
        state.generator_optimizer.zero_grad(set_to_none=True)
        generator_loss.backward()  # type: ignore[no-untyped-call]
        state.generator_optimizer.step()
        if state.average is not None:
            update_average(state.average, state.generator, rates.average)
        norms = gradient_norms(state.generator, state.scalars.layers_generator)
        measured += [generator_loss, torch.stack(norms).norm(), *norms]
    state.sums[: len(measured)] += torch.stack([value.detach().double() for value in measured])


@torch.no_grad()
def clip_weights(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Clamp parameters to [-limit, limit] (Arjovsky et al. 2017, algorithm 1, line 7)."""
    for parameter in parameters:
        parameter.clamp_(-limit, limit)


def clipped_parameters(network: nn.Module, config: Config) -> list[nn.Parameter]:
    """Return the parameters of a discriminator that `weight_clip` holds for: all, or all but normalisation's."""
    return [
        parameter
        for module in network.modules()
        if config.clip_normalization or not isinstance(module, NORMALIZATIONS)
        for parameter in module.parameters(recurse=False)
    ]
