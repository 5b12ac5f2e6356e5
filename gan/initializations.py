"""Table of weight initialisations. A new one is a function and one line in `INITIALIZATIONS`."""

from collections.abc import Callable, Mapping

from torch import nn


def normal_002(module: nn.Module) -> None:
    """Draw weights from N(0, 0.02), batch-norm scales from N(1, 0.02); biases are 0.

    Source: Radford et al. 2016, section 4, arXiv:1511.06434; the scales as in the authors' code.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def torch_default(module: nn.Module) -> None:
    """Leave what torch's own constructors drew (Kaiming uniform)."""


INITIALIZATIONS: Mapping[str, Callable[[nn.Module], None]] = {
    "normal_002": normal_002,
    "torch_default": torch_default,
}
