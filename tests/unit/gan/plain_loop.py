"""Training as one would write it down: gradients of everything, losses on probabilities or means, no shared code.

Only the networks' modules, the initial weights and the random numbers are the engine's.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from gan.config import Config
from gan.randomness import Stream, epoch_order, step_latents, torch_seed
from gan.state import build

OPTIMIZERS: Mapping[str, Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]] = {
    "dcgan": lambda p: torch.optim.Adam(p, lr=1e-4, betas=(0.5, 0.999), foreach=False),
    "wgan": lambda p: torch.optim.RMSprop(p, lr=1e-4, foreach=False),
    "wgan_sgd": lambda p: torch.optim.SGD(p, lr=1e-4, foreach=False),
}


@dataclass
class Trained:
    """Networks after some steps, and the losses of each step; None where the generator was not updated."""

    generator: nn.Module
    discriminator: nn.Module
    losses_discriminator: list[float] = field(default_factory=list)
    losses_generator: list[float | None] = field(default_factory=list)


def batches(config: Config, images: np.ndarray, seed: int, num_steps: int) -> list[Tensor]:
    """Return the first real batches, uint8 [B, 3, H, W]."""
    size, epoch = config.batch_size, 0
    found: list[Tensor] = []
    while len(found) < num_steps:
        order = epoch_order(seed, epoch, len(images))
        parts = [sorted(order[start : start + size]) for start in range(0, len(images), size)]
        found += [torch.stack([torch.from_numpy(images[i]).permute(2, 0, 1) for i in part]) for part in parts]
        epoch += 1
    return found[:num_steps]


def train_plainly(variant: str, config: Config, images: np.ndarray, seed: int, dtype: torch.dtype) -> Trained:
    """Train for `config.max_steps`."""
    device = torch.device("cpu")
    state = build(config, seed, device)
    trained = Trained(state.generator.to(dtype), state.discriminator.to(dtype))
    optimizer_g, optimizer_d = (
        OPTIMIZERS[variant](each.parameters()) for each in (state.generator, state.discriminator)
    )
    update = _binary_step if variant == "dcgan" else _wasserstein_step
    assert config.max_steps is not None
    for step, pixels in enumerate(batches(config, images, seed, config.max_steps), start=1):
        torch.manual_seed(torch_seed(seed, Stream.NOISE, step))
        update(trained, optimizer_g, optimizer_d, step, pixels.to(dtype) / 127.5 - 1, seed)
    return trained


def _binary_step(
    trained: Trained,
    optimizer_g: torch.optim.Optimizer,
    optimizer_d: torch.optim.Optimizer,
    step: int,
    real: Tensor,
    seed: int,
) -> None:
    fake = trained.generator(step_latents(seed, Stream.LATENTS, step, len(real), 100).to(real))
    real_score, fake_score = trained.discriminator(real), trained.discriminator(fake.detach())
    optimizer_d.zero_grad()
    loss = -torch.log(real_score).mean() - torch.log(1 - fake_score).mean()
    loss.backward()
    optimizer_d.step()
    optimizer_g.zero_grad()
    loss_g = -torch.log(trained.discriminator(fake)).mean()
    loss_g.backward()
    optimizer_g.step()
    trained.losses_discriminator.append(loss.item())
    trained.losses_generator.append(loss_g.item())


def _wasserstein_step(
    trained: Trained,
    optimizer_g: torch.optim.Optimizer,
    optimizer_d: torch.optim.Optimizer,
    step: int,
    real: Tensor,
    seed: int,
) -> None:
    fake = trained.generator(step_latents(seed, Stream.LATENTS, step, len(real), 100).to(real))
    real_score, fake_score = trained.discriminator(real), trained.discriminator(fake.detach())
    optimizer_d.zero_grad()
    loss = fake_score.mean() - real_score.mean()
    loss.backward()
    optimizer_d.step()
    for parameter in trained.discriminator.parameters():
        parameter.data.clamp_(-0.01, 0.01)
    trained.losses_discriminator.append(loss.item())
    trained.losses_generator.append(None)
    if step % 5 == 0:
        optimizer_g.zero_grad()
        latents = step_latents(seed, Stream.FRESH_LATENTS, step, len(real), 100).to(real)
        loss_g = -trained.discriminator(trained.generator(latents)).mean()
        loss_g.backward()
        optimizer_g.step()
        trained.losses_generator[-1] = loss_g.item()
