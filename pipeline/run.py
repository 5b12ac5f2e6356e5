"""The run stage: a whole suite, in this process or in many. What is done already is not done again."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gan.errors import DeviceError, Interrupted, UserError
from pipeline.cells import DEVICE_FAILED, FINISHED, INTERRUPTED, Cell, Outcome, floors, plan, run_cell
from pipeline.config import EvaluationConfig, SuiteConfig, load_suite
from pipeline.data.dataset import load_dataset
from pipeline.executors.board import Board, Run
from pipeline.executors.execution import Execution
from pipeline.executors.local import local_workers
from pipeline.executors.on_ray import ray_cluster
from pipeline.measuring import Options
from pipeline.prepare import prepare
from pipeline.report import Written, report
from pipeline.tracking import Store
from pipeline.workspace import Workspace

EXECUTORS: Mapping[str, Callable[..., AbstractContextManager[Run]]] = {"local": local_workers, "ray": ray_cluster}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SuiteResult:
    """What came of a suite. failed: cell name and reason."""

    report: Written
    failed: tuple[tuple[str, str], ...]


def run_suite(
    suite: str,
    *,
    store: Store,
    workspace: Workspace,
    data: str | None = None,
    seeds: Sequence[int] = (),
    extractors: Sequence[str] = (),
    num_samples: int | None = None,
    weights: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    execution: Execution | None = None,
    directory: Path,
    register_best: bool = False,
) -> SuiteResult:
    """Prepare, then train, sample and evaluate every variant and seed, then report.

    data, seeds, extractors, num_samples, precision: replace the suite's own. execution: where the cells run; None: one
    after the other in this process. register_best: as for `report`. A cell that fails is recorded; the rest goes on.
    Raises UserError where real images cannot be measured, and DeviceError where the GPU fails.
    """
    config = load_suite(suite)
    cell_store = dataclasses.replace(store, project_run=None)  # the run that `mlflow run` made holds the report
    measurements = _measurements(config.evaluation, extractors, num_samples, weights, device)
    dataset = load_dataset(_dataset(config, data, workspace), workspace.data)
    cells = plan(config, dataset, measurements, seeds=seeds, device=device, precision=precision)

    with _runner(execution, device, cell_store, workspace) as run:
        for phase in (floors(dataset, measurements), cells):
            outcomes = run(phase)
            failed = [(cell.name, outcomes[cell.name].reason) for cell in phase if not _is_done(outcomes, cell)]
            if failed and phase is not cells:  # without the floor no table
                raise UserError(f"{failed[0][1].rstrip('.')}.")
    result = report(store=store, directory=directory, register_best=register_best)
    return SuiteResult(result, tuple(failed))


def _is_done(outcomes: Mapping[str, Outcome], cell: Cell) -> bool:
    return outcomes[cell.name].status == FINISHED


@contextmanager
def _runner(
    execution: Execution | None, device: str, store: Store, workspace: Workspace
) -> Iterator[Callable[[Sequence[Cell]], Mapping[str, Outcome]]]:
    """Give a function that runs cells, here or where `execution` says."""
    if execution is None:
        yield lambda cells: _run_here(cells, store, workspace)
        return
    with EXECUTORS[execution.executor](execution, device=device, store=store, workspace=workspace) as run:

        def shown(cells: Sequence[Cell]) -> Mapping[str, Outcome]:
            board = Board(cells)
            with board.shown():
                return run(cells, board)

        yield shown


def _run_here(cells: Sequence[Cell], store: Store, workspace: Workspace) -> Mapping[str, Outcome]:
    """Run cells one after the other in this process, each with its bars."""
    outcomes: dict[str, Outcome] = {}
    for number, cell in enumerate(cells, start=1):
        log.info("[%d/%d] %s", number, len(cells), cell.name)
        outcome = outcomes[cell.name] = run_cell(cell, store=store, workspace=workspace)
        if outcome.status == INTERRUPTED:
            raise Interrupted(outcome.reason)
        if outcome.status == DEVICE_FAILED:  # a GPU that failed computes nothing else in this process
            raise DeviceError(outcome.reason)
    return outcomes


def _measurements(
    asked: EvaluationConfig, extractors: Sequence[str], num_samples: int | None, weights: Path | None, device: str
) -> list[Options]:
    """Return how to measure, once for each feature space. UserError: one weights file for several of them."""
    spaces = extractors or asked.extractors
    if weights is not None and len(spaces) > 1:
        raise UserError(
            f"--weights {weights}: goes with one feature space, the suite has {', '.join(spaces)}. "
            "Choose one with --extractor, or set GAN_INCEPTION_WEIGHTS."
        )
    return [
        Options(num_samples or asked.num_samples, each, weights, num_seeds=asked.num_seeds, device=device)
        for each in spaces
    ]


def _dataset(config: SuiteConfig, data: str | None, workspace: Workspace) -> str:
    """Return the name of the suite's dataset, prepared, or of the given one."""
    if data is not None:
        return load_dataset(data, workspace.data).name
    wanted = config.dataset
    return prepare(
        wanted.sources,
        name=wanted.name,
        num_images=wanted.num_images,
        image_size=wanted.image_size,
        held_out=wanted.held_out,
        root=workspace.data,
    ).name
