"""Table of gradient penalties of the discriminator. A new one is a class and one entry in `PenaltyConfig`."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from gan.schema import STRICT, PositiveFloat


@dataclass(frozen=True, config=STRICT)
class WassersteinGP:
    """The critic's gradient has norm 1 between real and fake images.

    Source: Gulrajani et al. 2017, eq. 3, arXiv:1704.00028. Not for a critic with batch normalisation, whose logits
    depend on the other images of the batch.
    """

    name: Literal["wgan_gp"]
    weight: PositiveFloat

    def penalty(self, logits_of: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, uniform: Tensor) -> Tensor:
        """Return weight * E[(|grad D(x)| - 1)^2], a scalar, with x = uniform * real + (1 - uniform) * fake.

        logits_of: images [B, C, H, W] to logits [B]. uniform: [B] in [0, 1), one number an image.
        """
        between = torch.lerp(fake.detach(), real.detach(), uniform.reshape(-1, 1, 1, 1))
        norms: Tensor = torch.linalg.vector_norm(_gradients(logits_of, between), dim=1)
        return self.weight * (norms - 1).square().mean()


@dataclass(frozen=True, config=STRICT)
class R1:
    """The discriminator's gradient vanishes on real images.

    Source: Mescheder et al. 2018, eq. 9, arXiv:1801.04406.
    """

    name: Literal["r1"]
    weight: PositiveFloat

    def penalty(
        self,
        logits_of: Callable[[Tensor], Tensor],
        real: Tensor,
        fake: Tensor,  # noqa: ARG002 -- one signature for all penalties
        uniform: Tensor,  # noqa: ARG002
    ) -> Tensor:
        """Return weight / 2 * E[|grad D(real)|^2], a scalar. logits_of: images [B, C, H, W] to logits [B]."""
        return self.weight / 2 * _gradients(logits_of, real).square().sum(dim=1).mean()


PenaltyConfig = Annotated[WassersteinGP | R1, Field(discriminator="name")]


def _gradients(logits_of: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return d logit / d image, [B, C * H * W], in at least float32 and differentiable by the parameters.

    `logits_of` runs under the caller's autocast, differentiation never does.
    """
    images = images.detach().requires_grad_()
    logits = logits_of(images)
    with torch.autocast(images.device.type, enabled=False):
        (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients.to(torch.promote_types(gradients.dtype, torch.float32)).flatten(1)
