"""A watch on the health of a training: pure functions of logits, weights and samples, and the flags that follow.

Diverging is not among the flags: a training whose scalars are not finite is stopped.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gan.losses import Loss
from gan.thresholds import LOW_DIVERSITY

POOL = 8  # pixels
NEGLIGIBLE = 0.01


def saturation(loss: Loss, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the share of images, in [0, 1], on which the discriminator has nothing left to learn.

    These are the images whose gradient d loss / d logit is below NEGLIGIBLE, in units of its largest value: for binary
    cross-entropy those with D(real) > 0.99 or D(fake) < 0.01, for the hinge loss those beyond the margin, for
    Wasserstein none. real_logits, fake_logits: [B].
    """
    with torch.enable_grad():
        real, fake = real_logits.detach().requires_grad_(), fake_logits.detach().requires_grad_()
        gradients = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    shares = [(gradient.abs() * len(gradient) < NEGLIGIBLE).double().mean() for gradient in gradients]
    return torch.stack(shares).mean()


def clipped_share(parameters: Sequence[nn.Parameter], limit: float) -> float:
    """Return the share of the numbers in parameters, in [0, 1], that lie at the bounds -limit and limit."""
    at_bound = torch.stack([(parameter.detach().abs() >= limit).sum() for parameter in parameters]).sum()
    return float(at_bound) / sum(parameter.numel() for parameter in parameters)


def diversity(images: Tensor) -> float:
    """Return how much images differ among each other: the standard deviation over images, averaged over places.

    images: uint8 [N, 3, H, W]. They are averaged over squares of POOL x POOL pixels first, so that noise does not pass
    for diversity. In units of pixel values, 0 to 127.5.
    """
    pooled = F.avg_pool2d(images.float(), POOL)
    return float(pooled.std(dim=0, correction=0).mean())


def layer_names(network: nn.Module) -> dict[str, str]:
    """Return, for each weight of two and more dimensions, a name such as "3_conv2d" in the order of the layers."""
    weights = [name for name, parameter in network.named_parameters() if parameter.ndim >= 2]
    owners = [re.sub(r"\.?(parametrizations\.)?[^.]*(\.original)?$", "", name) for name in weights]
    kinds = [type(network.get_submodule(owner)).__name__.lower().removeprefix("parametrized") for owner in owners]
    return {name: f"{i}_{kind}" for i, (name, kind) in enumerate(zip(weights, kinds, strict=True), start=1)}


def gradient_norms(network: nn.Module, names: Iterable[str]) -> list[Tensor]:
    """Return the L2 norm of the gradient of each named parameter, scalars on its device."""
    parameters = dict(network.named_parameters())
    gradients = [parameters[name].grad for name in names]
    return list(torch._foreach_norm([gradient for gradient in gradients if gradient is not None]))


FLAGS: Mapping[str, Callable[[Mapping[str, float]], bool]] = {
    "low diversity": lambda last: last.get("health/diversity", 1.0) < LOW_DIVERSITY,
    "saturated": lambda last: last.get("health/saturation", 0.0) > 0.95,
    "stalled": lambda last: last.get("health/generator_gradient", 1.0) == 0.0,
}
"""What a training can end as, by the last values of its curves."""

REMARKS: Mapping[str, str] = {
    "low diversity": "the samples differ less than a tenth as much as real images do",
    "saturated": "the discriminator is sure of more than 95 % of the images",
    "stalled": "no gradient reaches the generator",
}


def flags(last: Mapping[str, float]) -> list[str]:
    """Return the flags that the last values of the curves raise."""
    return [name for name, raised in FLAGS.items() if raised(last)]
