"""The parts of a suite: each can run in any process, on any machine, whose tracking store is the same."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gan.errors import DeviceError, Interrupted, UserError
from pipeline.config import SuiteConfig, find_experiment, load_experiment, overrides_of
from pipeline.data.dataset import Dataset
from pipeline.evaluate import evaluate, evaluate_real
from pipeline.measuring import Options
from pipeline.plan import own_code_hash
from pipeline.sample import SAMPLED, sample
from pipeline.selection import Selection
from pipeline.sharing.checkpoints import Sharing
from pipeline.tracking import Store
from pipeline.train import train
from pipeline.workspace import Workspace

FINISHED, FAILED, INTERRUPTED, DEVICE_FAILED = "finished", "failed", "interrupted", "device failed"
DIED = "died"  # its process or node did: nothing is known but that
FLOOR = "real images"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cell:
    """A training with its samples and measurements; or, without a variant, the measurements of real images.

    variant: a name, or the path of a YAML file. experiment: what stands in that file. num_images: that the training
    sees, a measure of its length. code_hash: of the code that is to train it.
    """

    name: str
    dataset: str
    measurements: tuple[Options, ...]
    variant: str | None = None
    experiment: str = ""
    overrides: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    precision: str | None = None
    selection: Selection | None = None
    num_images: int = 0
    code_hash: str = ""

    @property
    def title(self) -> str:
        """What the bar of its training is called: its variant."""
        return Path(self.variant or "").stem


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    status: finished, failed (reason says why), interrupted, device failed or died. run_id: of its training.
    """

    status: str
    reason: str = ""
    run_id: str = ""


def plan(
    config: SuiteConfig,
    dataset: Dataset,
    measurements: Sequence[Options],
    *,
    seeds: Sequence[int],
    device: str,
    precision: str | None,
) -> list[Cell]:
    """Return a suite's trainings, seed by seed: after the first round there is one number for every row."""
    asked = config.evaluation
    selection = (
        Selection(asked.every_epochs, asked.curve_samples, asked.curve_extractors) if asked.every_epochs else None
    )
    code_hash = own_code_hash()
    cells: dict[str, Cell] = {}  # by name: one that is listed twice runs once
    for seed in seeds or config.seeds:
        for cell in config.cells:
            overrides = tuple(overrides_of(config, cell))
            experiment = load_experiment(cell.variant, overrides)
            name = f"{cell.variant}-s{seed}" + "".join(f" {key}={value}" for key, value in cell.set.items())
            cells.setdefault(
                name,
                Cell(
                    name=name,
                    dataset=dataset.name,
                    measurements=tuple(measurements),
                    variant=cell.variant,
                    experiment=find_experiment(cell.variant).read_text(encoding="utf-8"),
                    overrides=overrides,
                    seed=seed,
                    device=device,
                    precision=precision,
                    selection=selection,
                    num_images=experiment.num_steps(len(dataset.images)) * experiment.batch_size,
                    code_hash=code_hash,
                ),
            )
    return list(cells.values())


def floors(dataset: Dataset, measurements: Sequence[Options]) -> list[Cell]:
    """Return the cells that measure real images, one for each feature space."""
    return [Cell(f"{FLOOR}, {each.extractor}", dataset.name, (each,), device=each.device) for each in measurements]


def run_cell(
    cell: Cell, *, store: Store, workspace: Workspace, sharing: Sharing | None = None, show_progress: bool = True
) -> Outcome:
    """Do what is left to do of a cell; an error of it is an outcome, not an exception."""
    try:
        return _run(cell, store, workspace, sharing, show_progress)
    except DeviceError as error:
        return Outcome(DEVICE_FAILED, str(error))
    except Interrupted as stop:
        return Outcome(INTERRUPTED, str(stop))
    except KeyboardInterrupt:
        return Outcome(INTERRUPTED, "Stopped. What was finished is kept; the same command does the rest.")
    except Exception as error:  # a cell's failure must not cost the others
        log.error("%s: %s", cell.name, error, exc_info=not isinstance(error, UserError))  # noqa: TRY400
        return Outcome(FAILED, _reason(error))


def run_cell_elsewhere(cell: Cell, *, store: Store, workspace: Workspace, sharing: Sharing) -> Outcome:
    """Do a cell where neither its experiment's file nor the code need be those of the machine that asks for it."""
    if cell.variant is None:
        return run_cell(cell, store=store, workspace=workspace)
    if (own := own_code_hash()) != cell.code_hash:
        reason = (
            f"the package 'gan' here ({own[:12]}) is not the one of the machine that asks ({cell.code_hash[:12]}), "
            "and the results would not be comparable. Install the same version on all of them, or use --ship"
        )
        return Outcome(FAILED, reason)
    with TemporaryDirectory() as folder:
        file = Path(folder, f"{Path(cell.variant).stem}.yaml")  # the name is the variant's
        file.write_text(cell.experiment, encoding="utf-8")
        return run_cell(replace(cell, variant=str(file)), store=store, workspace=workspace, sharing=sharing)


def _run(cell: Cell, store: Store, workspace: Workspace, sharing: Sharing | None, show_progress: bool) -> Outcome:
    measurements = [replace(each, show_progress=show_progress) for each in cell.measurements]
    if cell.variant is None:
        for options in measurements:
            evaluate_real(cell.dataset, options, store=store, workspace=workspace)
        return Outcome(FINISHED)
    trained = train(
        cell.variant, store=store, workspace=workspace, data=cell.dataset, seed=cell.seed, device=cell.device,
        precision=cell.precision, overrides=cell.overrides, selection=cell.selection, sharing=sharing,
        show_progress=show_progress,
    )  # fmt: skip
    if trained.status != FINISHED:
        return Outcome(FAILED, trained.status)
    if SAMPLED not in store.get(trained.run_id).tags:
        sample(trained.run_id, store=store, directory=workspace.samples, device=cell.device)
    for options in measurements:
        evaluate(trained.run_id, options, store=store, workspace=workspace)
    return Outcome(FINISHED, run_id=trained.run_id)


def _reason(error: Exception) -> str:
    """Return an error as a part of a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
