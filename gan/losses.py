"""Table of adversarial losses: pure functions of logits. A new one is a `Loss` and one line in `LOSSES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """Both sides of an adversarial game.

    discriminator: (real logits [B], fake logits [B]) -> scalar that the discriminator minimises.
    generator: fake logits [B] -> scalar that the generator minimises.
    output: the layer that turns logits into the described model's output.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    output: Callable[[], nn.Module]


def bce_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return -E[log D(real)] - E[log(1 - D(fake))], D being the sigmoid of the logits.

    Source: Goodfellow et al. 2014, eq. 1, arXiv:1406.2661. The sum, not the mean, of both terms.
    """
    real_loss = F.binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))
    fake_loss = F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))
    return real_loss + fake_loss


def bce_generator(fake_logits: Tensor) -> Tensor:
    """Return -E[log D(fake)], the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return F.binary_cross_entropy_with_logits(fake_logits, torch.ones_like(fake_logits))


def wasserstein_critic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return E[f(fake)] - E[f(real)] (Arjovsky et al. 2017, algorithm 1, arXiv:1701.07875)."""
    return fake_logits.mean() - real_logits.mean()


def wasserstein_generator(fake_logits: Tensor) -> Tensor:
    """Return -E[f(fake)] (Arjovsky et al. 2017, algorithm 1)."""
    return -fake_logits.mean()


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return E[max(0, 1 - D(real))] + E[max(0, 1 + D(fake))].

    Source: Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, eq. 16 (negated), arXiv:1802.05957.
    """
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def hinge_generator(fake_logits: Tensor) -> Tensor:
    """Return -E[D(fake)] (Miyato et al. 2018, eq. 17)."""
    return -fake_logits.mean()


LOSSES: Mapping[str, Loss] = {
    "bce": Loss(bce_discriminator, bce_generator, nn.Sigmoid),
    "wasserstein": Loss(wasserstein_critic, wasserstein_generator, nn.Identity),
    "hinge": Loss(hinge_discriminator, hinge_generator, nn.Identity),
}
