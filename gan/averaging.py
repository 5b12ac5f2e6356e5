"""The exponential moving average of a network's weights.

Source: Yazici et al. 2018, arXiv:1806.04498.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn


def make_average(network: nn.Module) -> nn.Module:
    """Return a copy of a network, without gradients, for `update_average` to keep."""
    return deepcopy(network).requires_grad_(False)


def decay_at(step: int, decay: float) -> float:
    """Return the share, below 1, of the average that is kept at update 1, 2, ... of the network.

    It rises to `decay`, so that a short training is not an average with its initial weights. Source: the rule of
    TensorFlow's ExponentialMovingAverage with num_updates.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, weight: Tensor | float) -> None:
    """Move the parameters of `average` by the share `weight` (1 - decay, in [0, 1]) towards those of `network`.

    Buffers, such as batch statistics, are copied. weight: a tensor without dimensions on the device of the networks
    is not read back, so that the update can be recorded.
    """
    for averaged, parameter in zip(average.parameters(), network.parameters(), strict=True):
        averaged.lerp_(parameter, torch.as_tensor(weight, dtype=averaged.dtype, device=averaged.device))
    for copied, buffer in zip(average.buffers(), network.buffers(), strict=True):
        copied.copy_(buffer)
