"""The generator of kernel size 3 of report 2."""

from typing import Literal

from pydantic.dataclasses import dataclass
from torch import nn

from gan.schema import STRICT


@dataclass(frozen=True, config=STRICT)
class GeneratorK3Config:
    """The generator of `wgan_sgd`: 3,380,227 parameters with 100 latents."""

    name: Literal["deconv_k3"]

    def build(self, latent_size: int) -> nn.Module:
        """Return a network from latents [B, latent_size] to images [B, 3, 64, 64] in [-1, 1]."""
        return nn.Sequential(
            nn.Linear(latent_size, 256 * 5 * 5),
            nn.Unflatten(1, (256, 5, 5)),
            nn.BatchNorm2d(256),
            nn.ReLU(inplace=True),
            *_block(256, 256, stride=2),  # 9 x 9
            *_block(256, 256, stride=1),
            *_block(256, 256, stride=2),  # 17 x 17
            *_block(256, 256, stride=1),
            *_block(256, 128, stride=2),  # 33 x 33
            *_block(128, 64, stride=2, padding=2, output_padding=1),  # 64 x 64
            nn.ConvTranspose2d(64, 3, kernel_size=3, stride=1, padding=1),
            nn.Tanh(),
        )


def _block(
    in_channels: int, out_channels: int, *, stride: int, padding: int = 1, output_padding: int = 0
) -> list[nn.Module]:
    """Layers that keep (stride 1) or about double (stride 2) height and width."""
    return [
        nn.ConvTranspose2d(
            in_channels, out_channels, kernel_size=3, stride=stride, padding=padding, output_padding=output_padding
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]
