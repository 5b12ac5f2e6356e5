"""Generator and discriminator of kernel size 5, after DCGAN (Radford et al. 2016, arXiv:1511.06434)."""

from typing import Literal

from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from gan.schema import STRICT, Probability


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

    dropout: probability of Dropout2d after each of the three BatchNorm blocks.
    head: a 4x4 convolution, or flatten and a linear layer.
    """

    name: Literal["dcgan_k5"]
    dropout: Probability
    head: Literal["conv", "linear"]

    def build(self, output: nn.Module) -> "DiscriminatorK5":
        """Return the network; `output` maps logits to what the described model puts out (Sigmoid or Identity)."""
        return DiscriminatorK5(self.dropout, self.head, output)


class DiscriminatorK5(nn.Module):
    """Images [B, 3, 64, 64] in [-1, 1] to one logit each.

    Training uses `logits`; the output layer belongs to the described model and is numerically unsafe in a loss.
    """

    def __init__(self, dropout: float, head: Literal["conv", "linear"], output: nn.Module) -> None:
        super().__init__()
        heads = {
            "conv": [nn.Conv2d(512, 1, kernel_size=4), nn.Flatten()],
            "linear": [nn.Flatten(), nn.Linear(512 * 4 * 4, 1)],
        }
        self.layers = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=5, stride=2, padding=2),
            nn.LeakyReLU(0.2, inplace=True),
            *_downsample(64, 128, dropout),
            *_downsample(128, 256, dropout),
            *_downsample(256, 512, dropout),
            *heads[head],
        )
        self.output = output

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits [B] of images [B, 3, 64, 64]."""
        logits: Tensor = self.layers(images).flatten()
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """Return the described model's output [B, 1]: probabilities after Sigmoid, critic values after Identity."""
        values: Tensor = self.output(self.layers(images))
        return values


def _downsample(in_channels: int, out_channels: int, dropout: float) -> list[nn.Module]:
    """Layers that halve height and width."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=5, stride=2, padding=2),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(0.2, inplace=True),
        *([nn.Dropout2d(dropout)] if dropout > 0 else []),
    ]
