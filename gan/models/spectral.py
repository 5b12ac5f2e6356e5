"""Spectral normalisation: every weight matrix is divided by its largest singular value."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


def normalize_spectrum(network: nn.Module) -> None:
    """Normalise the weights of all convolutions and linear layers from now on, by one power iteration a forward pass.

    To be called after the weights are initialised: it draws its first singular vectors from torch's global generator
    and improves them by 15 iterations. Source: Miyato et al. 2018, algorithm 1, arXiv:1802.05957.
    """
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            spectral_norm(module)
            normalization = module.get_submodule("parametrizations.weight.0")
            module.set_submodule("parametrizations.weight.0", _FullPrecision(normalization))


class _FullPrecision(nn.Module):
    """A parametrization that is computed outside autocast, whose products would quantise the singular vectors."""

    def __init__(self, parametrization: nn.Module) -> None:
        super().__init__()
        self.parametrization = parametrization

    def forward(self, weight: Tensor) -> Tensor:
        """Return the parametrized weight, of the same shape and type."""
        with torch.autocast(weight.device.type, enabled=False):
            parametrized: Tensor = self.parametrization(weight)
        return parametrized
