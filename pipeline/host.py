"""This machine: processor, GPU, system, versions. Nothing that names it or its user."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from gan.devices import allowed_threads, describe
from pipeline import __version__
from pipeline.environments import Environment

PACKAGES = ("torchvision", "numpy", "mlflow")


def environment_of(device: torch.device, commit: str) -> Environment:
    """Return what a training's bits and seconds depend on beside its configuration, in words. commit: of the code."""
    found = {"device": describe(device), **_machine(), **_gpu(device), "gan-benchmark": __version__, "commit": commit}
    return {key: value for key, value in found.items() if value}


@cache
def _machine() -> Environment:
    return {
        "processor": f"{_processor()} ({torch.backends.cpu.get_cpu_capability()})",
        "threads": str(allowed_threads()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": " ".join([_system(), *platform.libc_ver()]).strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in PACKAGES},
    }


def _gpu(device: torch.device) -> Environment:
    if device.type != "cuda":
        return {}
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu memory": f"{properties.total_memory / 2**30:.0f} GiB",
        "compute capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda or "",
        "cudnn": str(torch.backends.cudnn.version() or ""),  # type: ignore[no-untyped-call]
    }


def _processor() -> str:
    """Return the name that the processor gives itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _system() -> str:
    """Return the system's name and version; not the kernel's, which can say whose machine it is."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):  # not Linux
        return f"{platform.system()} {platform.release()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
