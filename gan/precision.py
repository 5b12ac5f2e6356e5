"""The number format of the networks' products: float32, TensorFloat-32 or bfloat16 with float32 weights.

Whatever it is, weights, optimizer state, batch statistics, logits and losses are float32.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch

from gan.errors import UserError

Autocast = Callable[[], AbstractContextManager[None]]


def resolve_precision(name: str, device: torch.device) -> str:
    """Return the precision that `name` stands for on a device: "auto" is the fastest that the device has units for.

    Raises UserError for tf32 on a processor.
    """
    if name == "auto":
        return "bf16" if _has_bf16_units(device) else "fp32"
    if name == "tf32" and device.type != "cuda":
        raise UserError(f"--precision tf32 needs a CUDA device, and the device is {device}. Use fp32 or auto.")
    return name


def _has_bf16_units(device: torch.device) -> bool:
    """Return whether bfloat16 products are much faster than float32's.

    CUDA: from compute capability 8.0 (Ampere). Processors: with AMX tiles. AVX512-BF16 alone makes a step 1.4 to 1.8
    times faster (docs/performance.md), which has to be asked for.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu._is_amx_tile_supported())


def autocast(precision: str, device: torch.device) -> Autocast:
    """Return a maker of contexts for forward passes, and let float32 products on CUDA be TF32 or exact.

    One context for each set of weights: within one, a converted weight is remembered.
    """
    if device.type == "cuda":
        backends: Any = torch.backends  # its settings are made at run time
        for products in (backends.cuda.matmul, backends.cudnn.conv):
            products.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    return partial(torch.autocast, device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def exact_float32() -> Iterator[None]:
    """Products in plain float32 by deterministic kernels, whatever speed settings the training has chosen.

    For samples and features: TF32 or bfloat16 on one side and float32 on the other give a distance between identical
    images.
    """
    backends: Any = torch.backends  # its settings are made at run time
    settings = (
        (backends.cuda.matmul, "fp32_precision", "ieee"),
        (backends.cudnn.conv, "fp32_precision", "ieee"),
        (backends.mkldnn.conv, "fp32_precision", "ieee"),
        (backends.cudnn, "deterministic", True),
        (backends.cudnn, "benchmark", False),
    )
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)
