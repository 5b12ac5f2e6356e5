"""Where the mathematics runs."""

import torch

from gan.errors import UserError


def select_device(name: str) -> torch.device:
    """Return the device called `name`: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda", "cuda:1", ...

    Turns on deterministic convolutions, so that the same seed gives the same bits on the same machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device must be auto, cpu, cuda or cuda:INDEX, got '{name}'.") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device must be auto, cpu, cuda or cuda:INDEX, got '{name}'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"--device: '{name}' was asked for, and torch sees {torch.cuda.device_count()} CUDA device(s). "
            "Use --device auto or cpu, or install a torch build for your driver."
        )
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return device


def describe(device: torch.device) -> str:
    """Return what a cost column says of the device, e.g. "cuda (NVIDIA H200)" or "cpu (2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"
