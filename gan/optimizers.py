"""Table of optimizers. A new one is a class and one entry in `OptimizerConfig`.

On CUDA the learning rate and all state are tensors there, so that a recorded step (gan.graphs) can use them; where
torch has one kernel for a whole update, it is used.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from gan.schema import STRICT, PositiveFloat, Probability


@dataclass(frozen=True, config=STRICT)
class Adam:
    """Kingma & Ba 2015, arXiv:1412.6980."""

    name: Literal["adam"]
    lr: PositiveFloat
    betas: tuple[Probability, Probability]
    eps: PositiveFloat

    def build(self, parameters: Iterable[nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
        """Return the optimizer of these parameters, which lie on `device`."""
        lr = _rate(self.lr, device)
        capturable = device.type == "cuda"
        return torch.optim.Adam(parameters, lr, self.betas, self.eps, fused=True, capturable=capturable)


@dataclass(frozen=True, config=STRICT)
class RMSprop:
    """Hinton 2012, lecture 6e; momentum 0 and not centered."""

    name: Literal["rmsprop"]
    lr: PositiveFloat
    alpha: Probability
    eps: PositiveFloat

    def build(self, parameters: Iterable[nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
        """Return the optimizer of these parameters, which lie on `device`."""
        lr = _rate(self.lr, device)
        return torch.optim.RMSprop(parameters, lr, self.alpha, self.eps, capturable=device.type == "cuda")


@dataclass(frozen=True, config=STRICT)
class SGD:
    """Stochastic gradient descent, with heavy-ball momentum where it is above 0."""

    name: Literal["sgd"]
    lr: PositiveFloat
    momentum: Probability

    def build(self, parameters: Iterable[nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
        """Return the optimizer of these parameters, which lie on `device`."""
        return torch.optim.SGD(parameters, _rate(self.lr, device), self.momentum, fused=True)


def _rate(lr: float, device: torch.device) -> float | Tensor:
    return torch.tensor(lr, device=device) if device.type == "cuda" else lr


OptimizerConfig = Annotated[Adam | RMSprop | SGD, Field(discriminator="name")]
