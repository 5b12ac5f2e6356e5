"""What every feature extractor is made from: a network with its weights, exact arithmetic, folded batch norm."""

import hashlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gan.errors import UserError


@dataclass(frozen=True, eq=False)
class Head:
    """The network's own classifier, from its features to K class scores: weight float32 [K, D], bias float32 [K]."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class Backbone:
    """A network from uint8 [B, 3, H, W] RGB images to float32 [B, num_features] features, on the CPU.

    protocol: what its numbers depend on, in words that do not depend on the machine; source: where its weights lie on
    this machine, for messages; remedy: what a user can do when its features are not finite; head: its classifier, if it
    has one for these features.
    """

    network: nn.Module
    num_features: int
    protocol: Mapping[str, str]
    source: str
    remedy: str
    head: Head | None = None


@dataclass(frozen=True)
class Weights:
    """A state dict and the sha256 of the file that it was read from."""

    state: dict[str, Tensor]
    sha256: str


def read_weights(path: Path, *, source: str, remedy: str) -> Weights:
    """Read a state dict without unpickling anything but tensors; the file is read once, so hash and tensors agree.

    source names the file in messages, remedy ends them. UserError: missing, unreadable, or not a state dict.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}); {remedy}") from error
    try:
        with warnings.catch_warnings(action="ignore"):  # of another pickle protocol than torch's: refused or read
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file makes torch.load raise
        raise UserError(
            f"{source}: must be a PyTorch state dict that holds only tensors, "
            f"got something else or a damaged file ({type(error).__name__}); {remedy}"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{source}: must be a state dict (names to tensors), got {type(state).__name__}; {remedy}")
    return Weights(state, hashlib.sha256(content).hexdigest())


def fold_batchnorm(network: nn.Module) -> None:
    """Fold each BatchNorm2d into the convolution registered just before it, in place, in float64.

    The same function of the input up to float32 rounding (about 1e-6 of the features) and 1.1 to 1.5 times faster on a
    CPU. The network has to be in eval mode. timm's batch norms carry the activation that follows them: it stays.
    """
    network.double()
    for parent in list(network.modules()):
        for (conv_name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(norm, nn.BatchNorm2d):
                if not isinstance(conv, nn.Conv2d):
                    raise TypeError(f"batch norm {norm_name} follows {conv_name}, which is not a convolution")
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, getattr(norm, "act", nn.Identity()))
    network.float()


def resize_by_products(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Resize [B, C, H, W] by rows [h, H] and columns [w, W]: rows @ image @ columns^T, float32 whatever autocast says.

    Returns [B, C, h, w] that lies channels last in memory without a copy of its size. Every separable linear resize is
    such a product; its matrix is what it makes of the rows of the identity.
    """
    batch, channels, height, _ = images.shape
    with torch.autocast(images.device.type, enabled=False):
        wide = (images @ columns.T).permute(0, 2, 3, 1).reshape(batch, height, -1)  # [B, H, w * C]
        return (rows @ wide).view(batch, len(rows), len(columns), channels).permute(0, 3, 1, 2)


def spatial_mean(x: Tensor) -> Tensor:
    """[B, D, H, W] -> float32 [B, D], summed in float32 even where the network computes in float16."""
    return x.mean(dim=(2, 3), dtype=torch.float32)
