"""Table of optimizers. A new one is a class and one entry in `OptimizerConfig`."""

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from gan.schema import STRICT, PositiveFloat, Probability


@dataclass(frozen=True, config=STRICT)
class Adam:
    """Kingma & Ba 2015, arXiv:1412.6980."""

    name: Literal["adam"]
    lr: PositiveFloat
    betas: tuple[Probability, Probability]
    eps: PositiveFloat

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer of these parameters."""
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, eps=self.eps)


@dataclass(frozen=True, config=STRICT)
class RMSprop:
    """Hinton 2012, lecture 6e; momentum 0 and not centered."""

    name: Literal["rmsprop"]
    lr: PositiveFloat
    alpha: Probability
    eps: PositiveFloat

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer of these parameters."""
        return torch.optim.RMSprop(parameters, lr=self.lr, alpha=self.alpha, eps=self.eps)


@dataclass(frozen=True, config=STRICT)
class SGD:
    """Stochastic gradient descent, with heavy-ball momentum where it is above 0."""

    name: Literal["sgd"]
    lr: PositiveFloat
    momentum: Probability

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer of these parameters."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum)


OptimizerConfig = Annotated[Adam | RMSprop | SGD, Field(discriminator="name")]
