"""Where the mathematics runs."""

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gan.errors import DeviceError, UserError

# What CUDA's own messages have, and those of them that a bug of ours can cause.
_OF_CUDA = (
    r"CUDA error|CUDA driver error|CUDA unknown error|cuDNN error|CUDNN_STATUS|No CUDA GPUs are available|NVIDIA driver"
)
_OURS = (
    r"device-side assert|illegal memory access|misaligned address|invalid (argument|configuration)|stream is capturing"
)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def select_device(name: str) -> torch.device:
    """Return the device called `name`: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda", "cuda:1", ...

    Turns on deterministic algorithms, so that the same seed gives the same bits on the same machine, takes no more
    threads than the container may use, and keeps freed memory for reuse.
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
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        try:
            torch.cuda.set_device(device)  # the first call that needs the device itself
        except RuntimeError as error:
            raise UserError(
                f"--device: '{name}' cannot be used: {str(error).splitlines()[0].rstrip('.')}. `nvidia-smi` shows its "
                "state; --device cpu does without."
            ) from error
    torch.set_num_threads(min(torch.get_num_threads(), allowed_threads()))
    keep_freed_memory()
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    return device


def describe(device: torch.device) -> str:
    """Return what a cost column says of the device, e.g. "cuda (NVIDIA H200)" or "cpu (2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def allowed_threads(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many threads can run at once: of the processors that this process may use, and of a container's quota.

    torch counts processors alone; more threads than the quota wait for each other.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (group / "cpu.max").read_text().split()
        return max(1, min(processors, int(quota) // int(period)))
    except (OSError, ValueError):  # no Linux container, or no limit: "max"
        return processors


def keep_freed_memory(mapped_from: int = 2**30, trimmed_from: int = 2**31 - 1) -> None:
    """Let glibc keep freed blocks smaller than `mapped_from` bytes; other C libraries are left alone.

    It returns large blocks to the system at once, and every step would get its activations page by page anew.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, mapped_from)
        library.mallopt(M_TRIM_THRESHOLD, trimmed_from)


@contextmanager
def memory_errors(device: torch.device, batch_size: int | None = None) -> Iterator[None]:
    """Turn running out of the device's memory into a UserError. batch_size: what the user can make smaller, if that."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not _is_out_of_memory(error):
            raise
        if batch_size is None:
            raise UserError(
                f"{describe(device)} ran out of memory. Free memory that others hold, or choose another --device."
            ) from error
        raise UserError(
            f"{describe(device)} ran out of memory at batch_size {batch_size}. Use a smaller one (--set "
            f"batch_size={max(2, batch_size // 2)}), free memory that others hold, or choose another --device."
        ) from error


@contextmanager
def device_errors(device: torch.device, kept: str) -> Iterator[None]:
    """Turn the failure of a GPU into a DeviceError. kept: what is not lost and how to go on, in sentences.

    What a program of ours can cause, such as an index out of range, stays what it is.
    """
    name = describe(device)  # before: a device that is gone does not tell its name
    try:
        yield
    except RuntimeError as error:
        if not _is_device_failure(error):
            raise
        reason = str(error).splitlines()[0].removeprefix("CUDA error: ").rstrip(".")
        raise DeviceError(f"{name} failed or disappeared: {reason} (`nvidia-smi` shows its state). {kept}") from error


@contextmanager
def on_device(name: str, kept: str) -> Iterator[torch.device]:
    """Select a device and turn its failure, and running out of its memory, into UserErrors: see device_errors."""
    device = select_device(name)
    with device_errors(device, kept), memory_errors(device):
        yield device


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch's processor allocator (which has no type of its own), CUDA, cuBLAS or cuDNN says so."""
    return bool(
        re.search(r"can't allocate memory|not enough memory|STATUS_ALLOC_FAILED|CUDA error: out of memory", str(error))
    )


def _is_device_failure(error: RuntimeError) -> bool:
    """Return whether CUDA, one of its libraries or the driver failed, and not through what it was asked to do."""
    text = str(error)
    of_cuda = isinstance(error, torch.AcceleratorError | torch.cuda.CudaError) or re.search(_OF_CUDA, text)
    return bool(of_cuda) and not re.search(_OURS, text)
