"""One run of the tracking store: what is read of it and what is written to it."""

import logging
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
from PIL import Image

from pipeline.tracking.failures import StoreError, impatient, reason, shown, store_errors

PROJECT = "gan-benchmark"
# Tags that hold JSON. The UI hides tags that begin with "mlflow.": these would be columns wider than the page.
EVALUATION = "mlflow.gan.evaluation."  # + extractor, protocol hash and checkpoint, with dots between: a result
CONFIG = "mlflow.gan.config"  # the resolved configuration
ENVIRONMENTS = "mlflow.gan.environments"  # where it was trained: a list, the last one last

COLOUR, DESCRIPTION = "mlflow.runColor", "mlflow.note.content"  # tags that the UI knows

# Pictures of the last generator. The page that compares runs shows only files that are in no folder.
SAMPLES_CARD, SAMPLES_FILE, INTERPOLATION_FILE = "final/samples", "samples.png", "interpolation.png"

log = logging.getLogger(__name__)


class Stage(StrEnum):
    """What a run is, in its tag `stage`."""

    TRAIN = "train"
    REAL = "real"
    REPORT = "report"
    INPUT = "input"  # a dataset or weights, for the machines that train
    COMMAND = "command"  # the shell that `mlflow run` makes for a command that writes into other runs


@dataclass(frozen=True)
class Run:
    """A run as it was read.

    status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED. metrics: the last value of each.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    start_time: int
    artifact_uri: str = ""


@dataclass(frozen=True)
class RunWriter:
    """Writes to a run without changing its status. Raises UserError, where nothing else is said, if that fails."""

    client: MlflowClient
    run_id: str

    @property
    def address(self) -> str:
        """Where the store is, for messages."""
        return shown(self.client.tracking_uri)

    def log_points(self, points: Sequence[Metric]) -> None:
        """Store up to 1000 points of curves, all or none; a point that is there exactly so stays one.

        Raises what the store raises.
        """
        self.client.log_batch(self.run_id, metrics=points, synchronous=True)

    def log_values(self, values: Mapping[str, float]) -> None:
        """Store values that have no step, rounded; one that is there already stays one point.

        The store takes the point with the latest time for the present value: another value gets a later one than what
        is there, also after the clock was set back.
        """
        with store_errors(self.address):
            now, stored = int(time.time() * 1000), self.client.get_run(self.run_id).data.metrics
            metrics = []
            for key, value in ((key, rounded(value)) for key, value in values.items()):
                if key in stored and (stored[key] == value or (math.isnan(stored[key]) and math.isnan(value))):
                    continue
                points = self.client.get_metric_history(self.run_id, key) if key in stored else []
                latest = max((point.timestamp for point in points), default=0)
                metrics.append(Metric(key, value, max(now, latest + 1), 0))
            self.client.log_batch(self.run_id, metrics=metrics)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Store parameters; a parameter that is there with the same value stays."""
        with store_errors(self.address):
            self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in params.items()])

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags."""
        with store_errors(self.address):
            self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_image(self, image: np.ndarray, path: str) -> None:
        """Store an image, uint8 [H, W, 3], as an artifact."""
        with store_errors(self.address):
            self.client.log_image(self.run_id, image, artifact_file=path)

    def log_image_of_series(self, image: np.ndarray, stem: str) -> None:
        """Store an image, uint8 [H, W, 3], that the UI shows with a slider; the same stem again replaces it.

        stem: `<key, with ~ for />+step+<step>+timestamp+<ms>+<uuid>`, as MlflowClient.log_image names its files. That
        makes a new name at every call, so that a second try would be a second image. Raises what the store raises.
        """
        picture = Image.fromarray(image)
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder, f"{stem}.png"), Path(folder, f"{stem}+compressed.webp")
            picture.save(files[0])
            compress_image_size(picture).save(files[1])
            for file in files:
                self.client.log_artifact(self.run_id, str(file), "images")
        self.client.log_batch(self.run_id, tags=[RunTag(MLFLOW_LOGGED_IMAGES, "True")])

    def log_image_card(self, image: np.ndarray, key: str) -> None:
        """Store an image, uint8 [H, W, 3], that a card of the UI's charts shows beside those of other runs."""
        self.log_image_of_series(image, f"{key.replace('/', '~')}+step+0+timestamp+0+{self.run_id}")

    def stems_of_images(self) -> list[str]:
        """Return the stems of the images that were stored with `log_image_of_series`, whole or in part."""
        names = [Path(file.path).name for file in self.client.list_artifacts(self.run_id, "images")]
        return sorted({name.removesuffix(".png").removesuffix("+compressed.webp") for name in names})

    def log_text(self, text: str, path: str) -> None:
        """Store a text as an artifact."""
        with store_errors(self.address):
            self.client.log_text(self.run_id, text, path)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file as an artifact."""
        with store_errors(self.address):
            self.client.log_artifact(self.run_id, str(path), folder)

    def log_files(self, directory: Path, names: Sequence[str], folder: str) -> None:
        """Store files, by their names below a directory, as artifacts below a folder."""
        for name in names:
            parent = Path(name).parent
            self.log_file(directory / name, folder if parent == Path() else f"{folder}/{parent}")

    def describe(self, markdown: str) -> None:
        """Set the text that the run's page shows."""
        self.set_tags({DESCRIPTION: markdown})


def rounded(value: float) -> float:
    """Return a value with six significant digits, but for counts: the UI shows raw floats."""
    return value if not math.isfinite(value) or float(value).is_integer() else float(f"{value:.6g}")


def end_active_run(status: str) -> None:
    """End the active run, if there is one, as FINISHED, FAILED or KILLED.

    FAILED and KILLED are news of something that matters more: where the store does not answer, that is only logged.
    """
    if status == "FINISHED":
        _end(status)
        return
    try:
        with impatient():
            _end(status)
    except (*StoreError, OSError) as error:
        log.warning("The tracking store does not answer (%s): the run is not marked %s there.", reason(error), status)


def _end(status: str) -> None:
    """End the active run; where the clock was set back meanwhile, with no duration instead of a negative one."""
    active = mlflow.active_run()
    mlflow.end_run(status)
    if active is not None and time.time() * 1000 < active.info.start_time:
        MlflowClient().set_terminated(active.info.run_id, status, end_time=active.info.start_time)
