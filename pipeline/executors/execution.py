"""How the cells of a suite are to be run: what the options of the command line say, and what follows from them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gan.devices import allowed_threads
from gan.errors import UserError

SHARE_SECONDS = 600.0
RETRIES = 3


@dataclass(frozen=True)
class Execution:
    """What a suite runs on.

    jobs: cells at once; None: one here, as many as fit on Ray. cpus, gpus: of a cell; None: see `resources`. address:
    of the Ray cluster. share_seconds: from one copy of a checkpoint in the tracking store to the next. shared: a folder
    that all machines see, for datasets and weights. retries: of a cell whose process, node or device died. ship: let
    Ray carry this working tree's code to the nodes. logs: folder of one file a cell.
    """

    executor: str = "local"
    jobs: int | None = None
    cpus: int | None = None
    gpus: float | None = None
    address: str = "auto"
    share_seconds: float = SHARE_SECONDS
    shared: Path | None = None
    retries: int = RETRIES
    ship: bool = True
    logs: Path = Path("logs")


OF_RAY = ("address", "share_seconds", "shared", "ship")
SPELT = {"cpus": "--cpus-per-cell", "gpus": "--gpus-per-cell", "share_seconds": "--share-every"}  # the others as named


def execution_of(executor: str, options: Mapping[str, Any], *, logs: Path) -> Execution | None:
    """Return what the options ask for; None: one cell after the other in the process that asks.

    options: by field; None: not given. Raises UserError for an option that goes with another executor.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        option = SPELT.get(name, f"--{name}")
        if executor != "ray" and name in OF_RAY:
            raise UserError(f"{option} goes with --executor ray. Leave it out, or add that.")
        if executor != "ray" and options.get("jobs") is None:
            raise UserError(f"{option} goes with --jobs N or --executor ray. Leave it out, or add one of them.")
    if executor != "ray" and not given:
        return None
    return Execution(executor=executor, logs=logs, **({"ship": is_working_tree()} | given))


def is_working_tree() -> bool:
    """Tell whether the code that runs is that of a project's folder, not an installed package."""
    return (Path(__file__).parents[2] / "pyproject.toml").is_file()


def visible_gpus(device: str) -> list[str]:
    """Return the GPUs that cells can have, by the names that CUDA_VISIBLE_DEVICES takes; none for the CPU.

    Raises UserError for one certain GPU, which several cells cannot share out.
    """
    if device.startswith("cuda:"):
        raise UserError(
            f"--device {device} is one GPU, and cells that run at once get one each. Use --device cuda with "
            f"CUDA_VISIBLE_DEVICES={device.removeprefix('cuda:')}."
        )
    if device not in ("auto", "cuda"):
        return []
    listed = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    num = torch.cuda.device_count()
    return listed[:num] if listed else [str(index) for index in range(num)]


def deal(jobs: int, gpus: list[str], share: float) -> list[str]:
    """Return the GPUs of each of `jobs` slots, as CUDA_VISIBLE_DEVICES has them; "" for none.

    share: GPUs a cell; 0.5: two cells on one; 2: two for one cell. Raises UserError where there are too few.
    """
    if not gpus or share == 0:
        return [""] * jobs
    if share >= 1:
        each = round(share)
        slots = [",".join(gpus[first : first + each]) for first in range(0, len(gpus) - each + 1, each)]
    else:
        slots = [gpu for gpu in gpus for _ in range(int(1 / share + 1e-9))]
    if jobs > len(slots):
        raise UserError(
            f"--jobs {jobs}: with --gpus-per-cell {share:g} the {len(gpus)} GPU(s) here are enough for {len(slots)} "
            f"cells at once. Use --jobs {len(slots)}, or a smaller part of a GPU (--gpus-per-cell 0.5)."
        )
    return slots[:jobs]


def threads(execution: Execution, jobs: int) -> int:
    """Return the CPU threads of a cell of several at once on this machine."""
    return execution.cpus or max(1, allowed_threads() // jobs)
