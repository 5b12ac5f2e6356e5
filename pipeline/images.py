"""Pictures of several images."""

import numpy as np
import torch
from torch import Tensor
from torchvision.utils import make_grid

from gan.sampling import TrainedGenerator

NUM_PATHS, PATH_LENGTH = 8, 10  # of an interpolation


def grid(images: Tensor, columns: int = 8) -> np.ndarray:
    """Return images [N, 3, H, W], uint8, side by side with white gaps as one image [H', W', 3], uint8."""
    picture: Tensor = make_grid(images.to(torch.uint8), nrow=columns, padding=2, pad_value=255)
    array: np.ndarray = picture.permute(1, 2, 0).contiguous().numpy()
    return array


def interpolation(trained: TrainedGenerator, seed: int, device: torch.device) -> np.ndarray:
    """Return a grid of NUM_PATHS ways from one image of a seed to another, one in each row, uint8 [H', W', 3]."""
    paths = trained.interpolations(seed=seed, num=NUM_PATHS, length=PATH_LENGTH, device=device)
    return grid(paths, columns=PATH_LENGTH)
