"""Cells of a suite without their computing: the stages are the real ones, and store what they always store.

Replaced are: the training loop, by one that waits and tells the observer what the real one tells; drawing, measuring
and exporting, by the same images, numbers and files each time.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import mlflow.pyfunc
import mlflow.pytorch
import torch
from cell_materials import Materials, Pace, events
from mlflow.models import Model
from requests_seen import SIGNS, Recorder
from torch import Tensor

import gan.checkpoints
import gan.sampling
import pipeline.cells
import pipeline.evaluate
import pipeline.train
from gan.checkpoints import Checkpoints
from gan.files import sha256_of
from gan.sampling import TrainedGenerator
from gan.training import CHECKPOINT_SECONDS, Evaluation, Outcome
from pipeline.cells import FINISHED, Cell, run_cell
from pipeline.images import grid
from pipeline.measuring import LAST, Options, Result
from pipeline.observer import TrackingObserver
from pipeline.sample import sample
from pipeline.selection import Selection
from pipeline.sharing.checkpoints import SharedCheckpoints, Sharing
from pipeline.tracking import Run, Store, handover
from pipeline.tracking.outbox import FLUSH_SECONDS
from pipeline.workspace import Workspace

EXTRACTOR = "efficientnet_lite0"
MEASURED = ("fd", "kd", "fd_infinity", "precision", "recall", "density", "coverage", "memorised", "authentic", "is")
PARTS = ("begin", "curves", "grids", "checkpoints", SIGNS, "publish", "sample and evaluate")
HURRIED = {"curves": ("point",), "grids": ("grid",), "checkpoints": ("checkpoint", "evaluation")}
BEATS_SECONDS = 1.0  # of signs of life without a pause, to see what one costs


class SimulatedTraining:
    """Stands for the training loop. wait: sleeps until a second of the training; late: how often the outbox was."""

    def __init__(self, materials: Materials, pace: Pace, recorder: Recorder, wait: Callable[[float], None]) -> None:
        self.materials, self.pace, self.recorder, self.wait = materials, pace, recorder, wait
        self.since = 0.0  # the second at which the next training begins: what comes before counts as done
        self.ahead = 0.0  # seconds since the flush before that: cells do not flush at the same moments
        self.flushes = self.late = 0
        self.best_step = 0

    def __call__(
        self, *_config_and_images: object, checkpoints: Checkpoints, observer: TrackingObserver, **_: object
    ) -> Outcome:
        """Tell everything in its time."""
        self.recorder.begin("curves")
        flushed, saved = self.since - self.ahead, self.since
        for second, step, event in events(self.materials, self.pace):
            if second < self.since:
                continue
            self.wait(second)
            self.tell(event, step, checkpoints, observer)
            if second - saved >= CHECKPOINT_SECONDS:
                saved = second
                checkpoints.save(step, {}, best_step=self.best_step)
            if second - flushed >= FLUSH_SECONDS:
                flushed = second
                self.flush(observer)
        return self.finish(observer, checkpoints)

    def tell(self, event: str, step: int, checkpoints: Checkpoints, observer: TrackingObserver) -> None:
        """Let one thing happen."""
        if event == "checkpoint":
            checkpoints.save(step, {}, best_step=self.best_step)
            if isinstance(checkpoints, SharedCheckpoints):
                checkpoints.share(step)
            return
        if event == "grid":
            observer.samples(step, self.materials.images)
        if event == "evaluation" and step > 0:  # every one but the last finds a better generator
            self.best_step = step if step < self.materials.num_steps else self.best_step or step
            checkpoints.save(step, {}, best_step=self.best_step)
        observer.scalars(step, self.materials.numbers(step, event))

    def flush(self, observer: TrackingObserver) -> None:
        """Flush, and note whether something waits since the flush before."""
        oldest = min((_modified(path) for path in observer.outbox.directory.glob("[0-9]*")), default=time.time())
        self.flushes += 1
        self.late += time.time() - oldest > FLUSH_SECONDS
        observer.flush()

    def finish(self, observer: TrackingObserver, checkpoints: Checkpoints) -> Outcome:
        """Return the outcome; what comes next is publishing."""
        steps = self.materials.num_steps
        checkpoints.save(steps, {}, best_step=self.best_step)
        observer.drain()
        self.recorder.begin("publish")
        self.since = 0.0
        state = self.materials.state
        state.step, state.best_step = steps, self.best_step
        return Outcome(state, finished=True, diverged=False)


class HurriedTraining(SimulatedTraining):
    """The same without waiting, one kind of thing after the other, so that one sees what each of them costs."""

    def __call__(
        self, *_config_and_images: object, checkpoints: Checkpoints, observer: TrackingObserver, **_: object
    ) -> Outcome:
        """Tell the points, then the grids, then the checkpoints, as if their time had come; then show signs of life."""
        happening = list(events(self.materials, self.pace))
        for part, wanted in HURRIED.items():
            self.recorder.begin(part)
            flushed = 0.0
            for second, step, event in (each for each in happening if each[2] in wanted):
                self.tell(event, step, checkpoints, observer)
                if second - flushed >= FLUSH_SECONDS or part == "checkpoints":
                    flushed = second
                    observer.drain()
            observer.drain()
        self.recorder.begin(SIGNS)
        writer = observer.outbox.writer
        token = handover._owner(writer.client.get_run(writer.run_id).data.tags)["token"]
        lease = handover.Lease(writer.client, writer.run_id, token)
        with patch.object(handover, "BEAT_SECONDS", 0.0), lease.held():
            time.sleep(BEATS_SECONDS)
        return self.finish(observer, checkpoints)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # it was sent just now
        return time.time()


def simulated_cell(materials: Materials, seed: int, samples: int = 10_000) -> Cell:
    """Return a cell as a suite has them."""
    options = Options(samples, num_seeds=3, device="cpu", show_progress=False)
    selection = Selection(materials.every_epochs)
    return Cell(
        f"simulated {seed}",
        "simulated",
        (options,),
        variant=materials.variant,
        seed=seed,
        device="cpu",
        selection=selection,
    )


def live(cell: Cell, store: Store, folder: Path) -> None:
    """Do everything that a cell does; its folder is removed."""
    outcome = run_cell(
        cell, store=store, workspace=Workspace(folder), sharing=Sharing(float("inf")), show_progress=False
    )
    if outcome.status != FINISHED:
        raise RuntimeError(f"{cell.name}: {outcome.reason}")
    shutil.rmtree(folder, ignore_errors=True)


def _link(file: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.hardlink_to(file)


@contextmanager
def without_computing(materials: Materials, training: SimulatedTraining) -> Iterator[None]:
    """Let the stages train with `training`, and draw, measure, save and export what is there already."""
    digest = sha256_of(materials.checkpoint)
    protocol = {"extractor": "simulated", "num_samples": 10_000, "software": "as long as a real one is" * 60}
    network = SimpleNamespace(name=EXTRACTOR, device=torch.device("cpu"))
    measuring = SimpleNamespace(
        network=network, protocol=protocol, protocol_hash="simulated", cache=materials.models / "cache"
    )
    evaluation = Evaluation((), lambda _network: {}, "")

    def images(_generator: object, latents: Tensor, _device: object) -> Tensor:
        return materials.images[torch.arange(len(latents)) % len(materials.images)]

    def copy(name: str, *_network: object, path: str, mlflow_model: Model, signature: Any, **_: Any) -> None:
        shutil.copytree(materials.models / name, path)
        mlflow_model.signature = signature
        mlflow_model.save(str(Path(path, "MLmodel")))

    def measure(
        run: Run, trained: TrainedGenerator, checkpoint: str, _measuring: Any, store: Store, _kept: Any
    ) -> Result:
        if checkpoint == LAST:
            training.wait(training.pace.train_seconds + training.pace.evaluate_seconds)
            store.writer(run.run_id).log_image(grid(materials.images[:32]), "evaluation/closest-pairs.png")
        numbers = {f"{name}_{EXTRACTOR}": 1 / 3 for name in MEASURED}
        return Result(checkpoint, trained.step, 10_000, numbers, numbers, numbers, ())

    def measured(*arguments: Any, **options: Any) -> Any:
        training.recorder.begin("sample and evaluate")
        return sample(*arguments, **options)

    replaced: Sequence[tuple[ModuleType, str, object]] = (
        (gan.checkpoints, "write_tensors_atomic", lambda path, _content: _link(materials.checkpoint, path)),
        (gan.checkpoints, "sha256_of", lambda _path: digest),
        (gan.sampling, "decode", images),
        (mlflow.pytorch, "save_model", partial(copy, "generator")),
        (mlflow.pyfunc, "save_model", partial(copy, "sampler")),
        (pipeline.cells, "sample", measured),
        (pipeline.evaluate, "Measuring", lambda *_arguments: measuring),
        (pipeline.evaluate, "load_dataset", lambda *_arguments: materials.dataset),
        (pipeline.evaluate, "_measure_generator", measure),
        (pipeline.train, "evaluation_of", lambda *_arguments: (evaluation, protocol)),
        (pipeline.train, "find_dataset", lambda *_arguments: materials.dataset),
        (pipeline.train, "train_gan", training),
    )
    with ExitStack() as stack:
        for module, name, stand_in in replaced:
            stack.enter_context(patch.object(module, name, stand_in))
        yield
