"""Runs in a file: out of one tracking store and into another, with what it takes to go on with them there."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from gan.errors import UserError
from gan.files import storage_errors
from pipeline import __version__
from pipeline.bundles import ARTIFACTS, CHECKPOINTS, Bundle, Entry, Writer, open_bundle, write_bundle
from pipeline.progress import progress_bar
from pipeline.publish import BEST_GENERATOR, GENERATOR
from pipeline.reporting.illustrations import CLOSEST
from pipeline.resuming import PLACE
from pipeline.run_lock import in_use
from pipeline.tracking import INTERPOLATION_FILE, Run, Stage, Store
from pipeline.tracking.copies import Copy, copied_runs, is_copy_of, is_of_this_project, origin_of, read_copy, write_copy
from pipeline.tracking.handover import CHECKPOINT
from pipeline.workspace import Workspace

FINISHED, SECONDS = "FINISHED", "time/train_seconds"  # a run's status, and a metric
SOFTWARE = f"gan-benchmark {__version__}"
LOCKS = (".lock", ".owner.json")  # of a folder of checkpoints: of this machine alone
# What a bundle for a repository leaves out: generators and most pictures, which are large, and images of the dataset.
NOT_PUBLISHED = (GENERATOR, BEST_GENERATOR, f"{CHECKPOINTS}/", "images/", "samples/", INTERPOLATION_FILE, CLOSEST)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What was written. left_out: names of runs that another process trains at the moment."""

    file: Path
    num_trainings: int
    num_real: int
    left_out: Sequence[str]

    @property
    def text(self) -> str:
        """What there is to say."""
        megabytes = self.file.stat().st_size / 1e6
        return f"{self.num_trainings} training(s), {self.num_real} run(s) of real images, {megabytes:,.1f} MB"


def export_runs(
    file: Path,
    *,
    store: Store,
    workspace: Workspace,
    run_ids: Sequence[str] = (),
    checkpoints: bool = True,
    publish: bool = False,
) -> Exported:
    """Write trainings, and the measured real images of their datasets, into a file.

    run_ids: only these trainings. checkpoints: with those of trainings that did not finish. publish: for a repository:
    numbers and the last samples, but no generator, no checkpoint, no other picture and no image of the dataset. The
    same runs give the same bytes. Published models are not copied: MLflow gives them ids of their own.

    Raises UserError where there is no training, or the file cannot be written.
    """
    trainings = [store.get(run_id) for run_id in run_ids] or store.find({"stage": Stage.TRAIN})
    if wrong := [run for run in trainings if run.tags.get("stage") != Stage.TRAIN]:
        raise UserError(f"--run: {wrong[0].run_id} ({wrong[0].name}) is not a training run. `pipeline ui` lists them.")
    digests = {run.tags.get("dataset_digest") for run in trainings}
    real = [run for run in store.find({"stage": Stage.REAL}) if run.tags.get("dataset_digest") in digests]
    with ExitStack() as held, storage_errors(file):
        left_out = [] if publish else _locked(held, trainings, workspace)
        chosen = [run for run in trainings if run not in left_out]
        if not chosen:
            raise UserError("There is no training to export. Train one first: pipeline train --variant dcgan")

        def fill(writer: Writer) -> None:
            runs = sorted([*chosen, *real], key=origin_of)
            with progress_bar(total=len(runs), unit="run", description="export") as bar:
                for run in runs:
                    folder = workspace.checkpoints / run.run_id
                    ended = run.status == FINISHED or run.tags.get("health") == "diverged"
                    keep = checkpoints and not publish and not ended
                    _add(writer, store, run, _checkpoints(folder) if keep else {}, publish)
                    bar.update()

        write_bundle(file, SOFTWARE, fill)
    return Exported(file, len(chosen), len(real), [run.name for run in left_out])


@dataclass(frozen=True)
class Imported:
    """What became of the runs of some bundles, by their names."""

    new: Sequence[str]
    updated: Sequence[str]
    here: Sequence[str]

    @property
    def text(self) -> str:
        """What there is to say."""
        return (
            f"{len(self.new)} run(s) are new, {len(self.updated)} were brought up to date, {len(self.here)} were here "
            "before."
        )


def import_runs(files: Sequence[Path], *, store: Store, workspace: Workspace) -> Imported:
    """Copy the runs of bundles into the store, and the checkpoints of unfinished ones beside it.

    A run that is here already stays one: what the bundle has beyond it is added. One that was trained here, or gone on
    with, is left alone, unless the bundle has it finished. Each bundle is compared with its checksums before anything
    is written; a kill between two runs loses nothing, the same command does the rest. Raises UserError for a file that
    is no bundle, that is damaged, or that holds other runs than of trainings and real images.
    """
    imported = Imported([], [], [])
    for file in files:
        with open_bundle(file) as bundle:
            for entry in bundle.entries:
                if not is_of_this_project(entry.run):
                    raise UserError(
                        f"{file}: run {entry.run.run_id} ({entry.run.name}) is no training or real images of this "
                        "project. Take the file that `pipeline export` wrote."
                    )
            known = copied_runs(store)
            with progress_bar(total=len(bundle.entries), unit="run", description=f"import {file.name}") as bar:
                for entry in bundle.entries:
                    earlier = known.get(entry.run.run_id)
                    target = _verdict(earlier, entry, imported)
                    if target is not imported.here:
                        _import(bundle, entry, earlier, store, workspace)
                    target.append(entry.run.name)  # type: ignore[attr-defined]
                    bar.update()
    return imported


def _verdict(earlier: Run | None, entry: Entry, imported: Imported) -> Sequence[str]:
    """Return where a run belongs: to what is new, to what is to be brought up to date, or to what is here."""
    if earlier is None:
        return imported.new
    run = entry.run
    if is_copy_of(earlier, entry.digest):
        return imported.here
    if earlier.run_id != run.run_id and PLACE not in earlier.tags:  # a copy, as it came
        return imported.updated
    # It was made here, at least in part: it can have been finished elsewhere, or only measured there.
    if run.status == earlier.status and run.tags.items() <= earlier.tags.items():
        return imported.here
    finished_elsewhere = run.status == FINISHED and earlier.status != FINISHED
    same_training = run.status == earlier.status and _seconds(run) == earlier.metrics.get(SECONDS)
    return imported.updated if finished_elsewhere or same_training else imported.here


def _seconds(run: Copy) -> float | None:
    """Return how long a finished training took, which no two trainings share."""
    points = run.metrics.get(SECONDS)
    return points[-1][2] if points else None


def _import(bundle: Bundle, entry: Entry, earlier: Run | None, store: Store, workspace: Workspace) -> None:
    here = workspace.checkpoints / earlier.run_id if earlier is not None else None

    def put_checkpoints(run_id: str) -> None:
        target = workspace.checkpoints / run_id
        if entry.checkpoints:
            with nullcontext() if target == here else in_use(target, None), storage_errors(target):
                bundle.extract(entry, CHECKPOINTS, target)

    with ExitStack() as held, tempfile.TemporaryDirectory() as folder:
        if here is not None and (entry.checkpoints or here.is_dir()):
            held.enter_context(in_use(here, earlier))  # nobody trains it meanwhile
        with storage_errors(Path(folder)):
            bundle.extract(entry, ARTIFACTS, Path(folder))
        write_copy(store, entry.run, earlier, files=Path(folder), digest=entry.digest, put=put_checkpoints)


def _add(writer: Writer, store: Store, run: Run, checkpoints: Mapping[str, Path], publish: bool) -> None:
    """Read a run and its files, and add them to a bundle."""
    left_out = (PLACE, CHECKPOINT) if publish else (PLACE,)
    copy = read_copy(store, run, without_tags=left_out)
    names = [name for name in store.all_artifacts(run) if not (publish and name.startswith(NOT_PUBLISHED))]
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {}
        for number, name in enumerate(names):  # a folder each: two may have the same last name
            target = Path(folder, str(number))
            target.mkdir()
            artifacts[name] = store.download(run, name, target)
        writer.add(copy, artifacts, checkpoints)


def _checkpoints(folder: Path) -> dict[str, Path]:
    """Return the files of a training's checkpoints, and what waits for the store, by their paths below the folder."""
    return {path.relative_to(folder).as_posix(): path for path in _files(folder) if path.name not in LOCKS}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file() and not path.name.startswith(".step-"):
            yield path


def _locked(held: ExitStack, trainings: Sequence[Run], workspace: Workspace) -> list[Run]:
    """Keep other processes from training these runs; return those that one trains already."""
    busy = []
    for run in trainings:
        folder = workspace.checkpoints / run.run_id
        if run.status == FINISHED or not folder.is_dir():
            continue
        try:
            held.enter_context(in_use(folder, run))
        except UserError as error:
            log.warning("%s It is left out.", error)
            busy.append(run)
    return busy
