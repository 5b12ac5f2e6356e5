"""The run stage: a whole suite in one process tree. What is done already is not done again."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gan.errors import DeviceError, Interrupted, UserError
from pipeline.config import EvaluationConfig, SuiteConfig, load_suite, overrides_of
from pipeline.data.dataset import load_dataset
from pipeline.evaluate import evaluate, evaluate_real
from pipeline.measuring import Options
from pipeline.prepare import prepare
from pipeline.report import Written, report
from pipeline.sample import SAMPLED, sample
from pipeline.selection import Selection
from pipeline.tracking import Store
from pipeline.train import train
from pipeline.workspace import Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SuiteResult:
    """What came of a suite. failed: cell name and reason."""

    report: Written
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Cell:
    name: str
    variant: str
    overrides: Sequence[str]
    seed: int


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
    directory: Path,
    register_best: bool = False,
) -> SuiteResult:
    """Prepare, then train, sample and evaluate every variant and seed, then report.

    data, seeds, extractors, num_samples, precision: replace the suite's own. register_best: as for `report`. A cell
    that fails is recorded; the rest goes on. Raises DeviceError where the GPU fails.
    """
    config = load_suite(suite)
    cell_store = dataclasses.replace(store, project_run=None)  # the run that `mlflow run` made holds the report
    measurements = _measurements(config.evaluation, extractors, num_samples, weights, device)
    dataset = _dataset(config, data, workspace)
    for options in measurements:
        evaluate_real(dataset, options, store=cell_store, workspace=workspace)

    asked = config.evaluation
    selection = (
        Selection(asked.every_epochs, asked.curve_samples, asked.curve_extractors) if asked.every_epochs else None
    )
    failed: list[tuple[str, str]] = []
    cells = _cells(config, seeds)
    for number, cell in enumerate(cells, start=1):
        log.info("[%d/%d] %s", number, len(cells), cell.name)
        try:
            trained = train(
                cell.variant, store=cell_store, workspace=workspace, data=dataset, seed=cell.seed, device=device,
                precision=precision, overrides=cell.overrides, selection=selection,
            )  # fmt: skip
            if trained.status != "finished":
                failed.append((cell.name, trained.status))
                continue
            if SAMPLED not in store.get(trained.run_id).tags:
                sample(trained.run_id, store=cell_store, directory=workspace.samples, device=device)
            for options in measurements:
                evaluate(trained.run_id, options, store=cell_store, workspace=workspace)
        except (Interrupted, DeviceError):  # a GPU that failed computes nothing else in this process
            raise
        except Exception as error:  # a cell's failure must not cost the others
            log.error("%s: %s", cell.name, error, exc_info=not isinstance(error, UserError))  # noqa: TRY400
            failed.append((cell.name, _reason(error)))

    result = report(store=store, directory=directory, register_best=register_best)
    return SuiteResult(result, tuple(failed))


def _reason(error: Exception) -> str:
    """Return an error as a part of a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


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


def _cells(config: SuiteConfig, seeds: Sequence[int]) -> list[_Cell]:
    """Return the suite's cells, seed by seed: after the first round there is one number for every row."""
    return [
        _Cell(
            name=f"{cell.variant}-s{seed}" + "".join(f" {key}={value}" for key, value in cell.set.items()),
            variant=cell.variant,
            overrides=overrides_of(config, cell),
            seed=seed,
        )
        for seed in (seeds or config.seeds)
        for cell in config.cells
    ]
