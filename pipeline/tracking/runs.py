"""One run of the tracking store: what is read of it and what is written to it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

PROJECT = "gan-benchmark"
EVALUATION = "evaluation."  # + extractor + "." + protocol hash: the tag of a result, as JSON
BATCH = 1000  # metrics a request, MLflow's maximum
FLUSH_SECONDS = 10.0


class Stage(StrEnum):
    """What a run is, in its tag `stage`."""

    TRAIN = "train"
    REAL = "real"
    REPORT = "report"
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


@dataclass
class RunWriter:
    """Writes to a run without changing its status; points of curves are buffered."""

    client: MlflowClient
    run_id: str
    _points: list[Metric] = field(default_factory=list)
    _flushed: float = field(default_factory=time.monotonic)

    def log_points(self, step: int, values: Mapping[str, float]) -> None:
        """Take points of curves; they are stored every FLUSH_SECONDS and by `flush`."""
        now = int(time.time() * 1000)
        self._points += [Metric(key, value, now, step) for key, value in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Store the points that were taken."""
        while self._points:
            self.client.log_batch(self.run_id, metrics=self._points[:BATCH])
            del self._points[:BATCH]
        self._flushed = time.monotonic()

    def log_values(self, values: Mapping[str, float]) -> None:
        """Store values that have no step; the UI shows raw floats, so all but counts have six significant digits."""
        now = int(time.time() * 1000)
        rounded = {key: value if float(value).is_integer() else float(f"{value:.6g}") for key, value in values.items()}
        metrics = [Metric(key, value, now, 0) for key, value in rounded.items()]
        self.client.log_batch(self.run_id, metrics=metrics)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Store parameters; a parameter that is there with the same value stays."""
        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in params.items()])

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags."""
        self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        """Store an image, uint8 [H, W, 3], in the series `key`; without a step, as the file `<key>.png`."""
        if step is None:
            self.client.log_image(self.run_id, image, artifact_file=f"{key}.png")
        else:
            self.client.log_image(self.run_id, image, key=key, step=step, synchronous=True)

    def log_text(self, text: str, path: str) -> None:
        """Store a text as an artifact."""
        self.client.log_text(self.run_id, text, path)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file as an artifact."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def describe(self, markdown: str) -> None:
        """Set the text that the run's page shows."""
        self.set_tags({"mlflow.note.content": markdown})


def end_active_run(status: str) -> None:
    """End the active run as FINISHED, FAILED or KILLED."""
    mlflow.end_run(status)
