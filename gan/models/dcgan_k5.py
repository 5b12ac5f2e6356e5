"""Generator and discriminator of kernel size 5, after DCGAN (Radford et al. 2016, arXiv:1511.06434)."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from gan.models.spectral import normalize_spectrum
from gan.schema import STRICT, Probability

Head = Literal["conv", "linear"]
Normalization = Literal["batch", "layer", "none"]

NORMALIZATIONS: Mapping[Normalization, Callable[[int], list[nn.Module]]] = {
    "batch": lambda num_channels: [nn.BatchNorm2d(num_channels)],
    "layer": lambda num_channels: [nn.GroupNorm(1, num_channels)],
    "none": lambda _: [],
}
"""Layers after each of the last three convolutions of the discriminator, by the number of their channels.

layer: each image by itself over channels, height and width (Ba et al. 2016, arXiv:1607.06450), scale and shift for
each channel, as in the code of Gulrajani et al. 2017, arXiv:1704.00028.
"""


@dataclass(frozen=True, config=STRICT)
class GeneratorK5Config:
    """The generator of `dcgan` and `wgan`: 5,142,083 parameters with 100 latents."""

    name: Literal["dcgan_k5"]

    def build(self, latent_size: int) -> nn.Module:
        """Return a network from latents [B, latent_size] to images [B, 3, 64, 64] in [-1, 1]."""
        return nn.Sequential(
            nn.Linear(latent_size, 512 * 4 * 4, bias=False),
            nn.BatchNorm1d(512 * 4 * 4),
            nn.ReLU(inplace=True),
            nn.Unflatten(1, (512, 4, 4)),
            *_upsample(512, 256),
            *_upsample(256, 128),
            *_upsample(128, 64),
            nn.ConvTranspose2d(64, 3, kernel_size=5, stride=2, padding=2, output_padding=1),
            nn.Tanh(),
        )


def _upsample(in_channels: int, out_channels: int) -> list[nn.Module]:
    """Layers that double height and width."""
    return [
        nn.ConvTranspose2d(in_channels, out_channels, kernel_size=5, stride=2, padding=2, output_padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


@dataclass(frozen=True, config=STRICT)
class DiscriminatorK5Config:
    """The discriminator of all variants: 4,316,545 parameters with either head.

    dropout: probability of Dropout2d after each of the last three blocks.
    head: a 4x4 convolution, or flatten and a linear layer.
    normalization: an entry of NORMALIZATIONS.
    spectral_norm: whether every weight matrix is divided by its largest singular value.
    """

    name: Literal["dcgan_k5"]
    dropout: Probability
    head: Head
    normalization: Normalization = "batch"
    spectral_norm: bool = False

    def build(self, output: nn.Module) -> "DiscriminatorK5":
        """Return the network; `output` maps logits to what the described model puts out (Sigmoid or Identity)."""
        return DiscriminatorK5(self.dropout, self.head, output, self.normalization)

    def finish(self, network: nn.Module) -> None:
        """Add to a built network what comes after the initialisation of its weights: spectral normalisation."""
        if self.spectral_norm:
            normalize_spectrum(network)


class DiscriminatorK5(nn.Module):
    """Images [B, 3, 64, 64] in [-1, 1] to one logit each.

    Training uses `logits`; the output layer belongs to the described model and is numerically unsafe in a loss.
    """

    def __init__(self, dropout: float, head: Head, output: nn.Module, normalization: Normalization = "batch") -> None:
        super().__init__()
        heads: dict[Head, list[nn.Module]] = {
            "conv": [nn.Conv2d(512, 1, kernel_size=4), nn.Flatten()],
            "linear": [nn.Flatten(), nn.Linear(512 * 4 * 4, 1)],
        }
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=5, stride=2, padding=2),
            nn.LeakyReLU(0.2, inplace=True),
            *_downsample(64, 128, dropout, normalization),
            *_downsample(128, 256, dropout, normalization),
            *_downsample(256, 512, dropout, normalization),
        )
        self.head = nn.Sequential(*heads[head])
        self.output = output

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits [B] of images [B, 3, 64, 64]."""
        return self._logits(images).flatten()

    def forward(self, images: Tensor) -> Tensor:
        """Return the described model's output [B, 1]: probabilities after Sigmoid, critic values after Identity."""
        values: Tensor = self.output(self._logits(images))
        return values

    def _logits(self, images: Tensor) -> Tensor:
        """Return the logits [B, 1]. The head is computed in float32 under autocast: bfloat16 would quantise logits."""
        features = self.features(images)
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.head(features.to(torch.promote_types(features.dtype, torch.float32)))
        return logits


def _downsample(in_channels: int, out_channels: int, dropout: float, normalization: Normalization) -> list[nn.Module]:
    """Layers that halve height and width."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=5, stride=2, padding=2),
        *NORMALIZATIONS[normalization](out_channels),
        nn.LeakyReLU(0.2, inplace=True),
        *([nn.Dropout2d(dropout)] if dropout > 0 else []),
    ]
