"""Real images made worse in known ways: rows that show what a difference means. One entry of CORRUPTIONS is one row."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from gan.randomness import Stream, generator


@dataclass(frozen=True)
class Corruption:
    """A change of images. apply: from uint8 [B, 3, H, W] and the index of the first image to the same form."""

    title: str
    apply: Callable[[Tensor, int], Tensor]


def jpeg(images: Tensor, _first: int, quality: int = 75) -> Tensor:
    """Write and read every image as a JPEG, with Pillow's defaults but for the quality."""
    decoded = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, format="JPEG", quality=quality)
        decoded.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    return torch.stack(decoded)


def flip(images: Tensor, _first: int) -> Tensor:
    """Mirror left and right."""
    return images.flip(-1)


def blur(images: Tensor, _first: int, sigma: float = 1.0) -> Tensor:
    """Blur by a Gaussian of so many pixels."""
    blurred: Tensor = gaussian_blur(images, kernel_size=[7, 7], sigma=[sigma, sigma])
    return blurred


def noise(images: Tensor, first: int, deviation: float = 10.0) -> Tensor:
    """Add Gaussian noise of so many of the 255 levels; that of image i depends on i alone."""
    noises = [
        generator(0, Stream.CORRUPTION, first + index).normal(0, deviation, images.shape[1:])
        for index in range(len(images))
    ]
    noisy = images.numpy() + np.stack(noises)
    return torch.from_numpy(noisy.round().clip(0, 255).astype(np.uint8))


CORRUPTIONS: Mapping[str, Corruption] = {
    "flipped": Corruption("flipped horizontally", flip),
    "jpeg75": Corruption("as JPEG of quality 75", jpeg),
    "blurred": Corruption("blurred (Gaussian of 1 pixel)", blur),
    "noisy": Corruption("with noise (Gaussian of 10/255)", noise),
}
