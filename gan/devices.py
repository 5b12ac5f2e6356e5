"""Where the mathematics runs."""

import contextlib
import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gan.errors import UserError

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
        torch.cuda.set_device(device)
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
def memory_errors(device: torch.device, batch_size: int) -> Iterator[None]:
    """Turn running out of the device's memory into a UserError."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not _is_out_of_memory(error):
            raise
        raise UserError(
            f"{describe(device)} ran out of memory at batch_size {batch_size}. Use a smaller one (--set "
            f"batch_size={max(2, batch_size // 2)}), free memory that others hold, or choose another --device."
        ) from error


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether torch's processor allocator (which has no type of its own) or cuDNN says so."""
    return bool(re.search(r"can't allocate memory|not enough memory|CUDNN_STATUS_ALLOC_FAILED", str(error)))
