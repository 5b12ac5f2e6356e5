"""Devices: which, how many threads, and what running out of memory says."""

import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from gan.checkpoints import Checkpoints
from gan.devices import allowed_threads, memory_errors, select_device
from gan.errors import UserError
from gan.training import train
from pipeline.config import load_experiment
from tests.unit.gan.test_training import Recorder

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "mps", "cuda:99"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="--device"):
        select_device(name)


@pytest.mark.parametrize(
    ("quota", "threads"), [("100000 100000", 1), ("50000 100000", 1), ("1000000000 100000", None), ("max 100000", None)]
)
def test_a_container_s_quota_limits_the_threads(quota: str, threads: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert allowed_threads(tmp_path) == (threads or allowed_threads(tmp_path / "no container"))


def test_there_is_at_least_one_thread_and_no_more_than_processors() -> None:
    assert 1 <= allowed_threads() <= (psutil.cpu_count() or 1)


@contextmanager
def memory_limit(num_bytes: int) -> Iterator[None]:
    """Let this process take so much more address space and no more."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_too_large_a_batch_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    images = np.zeros((2048, 64, 64, 3), dtype=np.uint8)
    config = load_experiment("dcgan", ["batch_size=2048", "max_steps=1"])
    with (
        memory_limit(4 * 10**8),
        pytest.raises(UserError, match=r"cpu .* ran out of memory at batch_size 2048.*--set batch_size=1024") as caught,
    ):
        train(config, images, seed=0, device=CPU, checkpoints=Checkpoints(tmp_path, "x"), observer=Recorder())
    assert "\n" not in str(caught.value)


def test_a_gpu_s_own_error_gets_the_same_line() -> None:
    with pytest.raises(UserError, match="ran out of memory at batch_size 64"), memory_errors(CPU, 64):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"), memory_errors(CPU, 64):
        raise RuntimeError("shape mismatch")


def test_freed_memory_is_kept_for_reuse() -> None:
    """With the default settings a freed block of 40 MB goes back to the system, and its pages are faulted in again."""
    program = (
        "import resource, sys, torch, gan.devices\n"
        "if sys.argv[1] == 'kept': gan.devices.select_device('cpu')\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): torch.ones(10_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "faults(); print(faults())\n"
    )
    default, kept = (
        int(subprocess.run([sys.executable, "-c", program, mode], capture_output=True, text=True, check=True).stdout)
        for mode in ("default", "kept")
    )
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another C library than glibc")
    assert kept < default / 10
