"""What clipping the critic's weights does to the gradient that reaches the generator, before the first update.

    python benchmarks/clipping.py

For `wgan` and `wgan_sgd`: the norm of the gradient of the generator's loss with respect to the generator's weights,
with the critic as it was initialised, and with parts of it clipped as the configuration says. BatchNorm's scales start
at 1; the WGAN paper's algorithm clips them like all other weights. RMSprop and Adam divide the norm out; plain SGD does
not.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import click
import pandas as pd
import torch
from torch import nn

from gan.config import Config
from gan.losses import LOSSES
from gan.randomness import Stream, step_latents
from gan.state import build
from gan.step import clip_weights
from pipeline.config import load_experiment

CPU = torch.device("cpu")
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

PARTS: Mapping[str, Callable[[nn.Module], bool]] = {
    "as initialised": lambda _: False,
    "all but BatchNorm clipped": lambda module: not isinstance(module, NORMS),
    "BatchNorm clipped": lambda module: isinstance(module, NORMS),
    "all clipped": lambda _: True,
}


@click.command(help=__doc__)
@click.option("--seed", default=0, show_default=True)
def main(seed: int) -> None:
    """Print one row for each of both, as markdown."""
    configs = [load_experiment(name) for name in ("wgan", "wgan_sgd")]
    rows = [{"variant": config.variant} | gradients(config, seed) for config in configs]
    click.echo(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"))


def gradients(config: Config, seed: int) -> dict[str, float]:
    """Return the norm of the generator's gradient with each of PARTS clipped."""
    return {part: gradient(config, seed, clipped) for part, clipped in PARTS.items()}


def gradient(config: Config, seed: int, clipped: Callable[[nn.Module], bool]) -> float:
    """Return the norm of the gradient of the generator's loss on one batch, over all its weights.

    clipped: whether the parameters that a module of the critic owns itself are.
    """
    without_dropout = replace(config, discriminator=replace(config.discriminator, dropout=0.0))
    state = build(without_dropout, seed, CPU)
    for module in state.discriminator.modules():
        if not list(module.children()) and clipped(module):
            clip_weights(module.parameters(), config.weight_clip or float("inf"))
    latents = step_latents(seed, Stream.LATENTS, 1, config.batch_size, config.latent_size)
    loss = LOSSES[config.loss].generator(state.discriminator.logits(state.generator(latents)))
    found = torch.autograd.grad(loss, list(state.generator.parameters()))
    return float(torch.stack([each.norm() for each in found]).norm())


if __name__ == "__main__":
    main()
