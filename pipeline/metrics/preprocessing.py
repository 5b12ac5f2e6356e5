"""How torch-fidelity prepares images for its networks of 224x224 inputs: TensorFlow 1's resize, one scale a channel."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from pipeline.metrics.backbones import resize_by_products

SIZE = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessing(nn.Module):
    """Standardise and resize to 224x224. mean, std: of red, green and blue, for pixels from 0 to 1.

    The pixels are scaled before the resize instead of after it: it is linear and keeps constants.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] -> float32 [B, 3, 224, 224], channels last."""
        rows, columns = (tensorflow_resize_matrix(length, SIZE, images.device) for length in images.shape[-2:])
        return resize_by_products((images.float() - self.mean) / self.std, rows, columns)


def protocol_of(values: str) -> dict[str, str]:
    """Return the protocol's entries of this preprocessing; values: whose mean and standard deviation they are."""
    return {
        "resize": f"bilinear as in TensorFlow 1 (no half-pixel centres, no antialiasing), to {SIZE}x{SIZE}",
        "input": f"uint8 RGB, (x / 255 - mean) / std of {values}",
        "dtype": "float32",
    }


@lru_cache(maxsize=16)
def tensorflow_resize_matrix(length: int, size: int, device: torch.device) -> Tensor:
    """Return [size, length]: what torch-fidelity's resize of TensorFlow 1 makes of the rows of the identity."""
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x  # slow

    identity = torch.eye(length)[None, None]
    matrix: Tensor = interpolate_bilinear_2d_like_tensorflow1x(identity, (size, length), align_corners=False)
    return matrix[0, 0].to(device)
