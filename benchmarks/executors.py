"""What it costs to hand a cell to a worker or a node: cells in which nothing is to be done, one after the other.

    python benchmarks/executors.py --cells 200 --jobs 2

Prints the seconds until the first cell is done (processes start, PyTorch and MLflow are imported), and how many each of
the rest takes, times the jobs: the time of a slot that is lost for training.
"""

import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import click

from pipeline.cells import FINISHED, Cell, Outcome
from pipeline.executors.board import Board, Run
from pipeline.executors.execution import Execution
from pipeline.executors.local import local_workers
from pipeline.executors.on_ray import ray_cluster
from pipeline.prepare import prepare
from pipeline.tracking import connect
from pipeline.workspace import Workspace

EXECUTORS: Mapping[str, Callable[..., AbstractContextManager[Run]]] = {"local": local_workers, "ray": ray_cluster}


class Times(Board):
    """A board that remembers when cells ended."""

    def end(self, name: str, outcome: Outcome) -> None:
        """Note the time."""
        super().end(name, outcome)
        if outcome.status != FINISHED:
            raise RuntimeError(f"{name}: {outcome.reason}")
        self.ends = [*getattr(self, "ends", []), time.perf_counter()]


def measure(executor: str, num_cells: int, jobs: int) -> tuple[float, float]:
    """Return the seconds until the first cell is done, and the slot's seconds of each of the rest."""
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["GAN_NODE_DIRECTORY"] = str(Path(folder, "node"))
        workspace, store = Workspace(), connect()
        dataset = prepare(name="tiny", num_images=8, root=workspace.data)
        cells = [Cell(f"cell {number}", dataset.name, ()) for number in range(num_cells)]
        board = Times(cells)
        execution = Execution(executor, jobs=jobs, cpus=1, address="local")
        began = time.perf_counter()
        with EXECUTORS[executor](execution, device="cpu", store=store, workspace=workspace) as run:
            run(cells, board)
        os.chdir(Path(folder).parent)
    return board.ends[0] - began, (board.ends[-1] - board.ends[0]) * jobs / (num_cells - 1)


@click.command()
@click.option("--cells", "num_cells", type=click.IntRange(min=2), default=200, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(num_cells: int, jobs: int, json_path: Path | None) -> None:
    """Time both executors."""
    result: dict[str, dict[str, float]] = {}
    for executor in EXECUTORS:
        with multiprocessing.get_context("spawn").Pool(1) as process:
            first, rest = process.apply(measure, (executor, num_cells, jobs))
        result[executor] = {"first_seconds": first, "cell_seconds": rest}
        click.echo(
            f"{executor}: first cell after {first:.1f} s, then {rest:.3f} s a cell ({num_cells} cells, {jobs} jobs)"
        )
    if json_path is not None:
        json_path.write_text(json.dumps({"cells": num_cells, "jobs": jobs, **result}, indent=2))


if __name__ == "__main__":
    main()
