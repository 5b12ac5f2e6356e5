"""What a training writes waits here until the tracking store has it: an outage loses nothing and stops nothing."""

import io
import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow.entities import Metric
from PIL import Image

from gan.errors import UserError
from gan.files import fsync, storage_errors, write_atomic, write_text_atomic
from pipeline.tracking.runs import REQUEST_SECONDS, RunWriter, StoreError, impatient, is_outage, reason

FLUSH_SECONDS = 10.0
BATCH = 1000  # points a request, MLflow's maximum
FIRST_PAUSE, LAST_PAUSE = 5.0, 60.0  # seconds between attempts during an outage; doubled each time
DRAIN_PAUSE = 2.0  # at the end nothing else has to be done

log = logging.getLogger(__name__)


@dataclass
class Points:
    """Points of curves for one request.

    file: where they wait on disk; None while they are in memory alone.
    """

    metrics: list[Metric]
    file: Path | None = None

    @property
    def name(self) -> str:
        """Return a file name that says what is inside."""
        return f"points-of-steps-{self.metrics[0].step}-{self.metrics[-1].step}.json"

    def write(self, path: Path) -> None:
        """Write the points; values as text, because JSON has no NaN and no infinity."""
        rows = [[metric.key, repr(metric.value), metric.timestamp, metric.step] for metric in self.metrics]
        write_text_atomic(path, json.dumps(rows))

    @classmethod
    def read(cls, path: Path, content: bytes) -> "Points":
        """Return what was written. Raises ValueError or TypeError where it is damaged."""
        rows = json.loads(content)
        return cls([Metric(str(key), float(value), int(time), int(step)) for key, value, time, step in rows], path)


@dataclass
class Picture:
    """An image of a series, uint8 [H, W, 3], under the name that it has in the store.

    stem: see RunWriter.log_image_of_series. file: where it waits on disk; None while it is in memory alone.
    """

    image: np.ndarray
    stem: str
    file: Path | None = None

    @property
    def name(self) -> str:
        """Return a file name that says what is inside."""
        return f"{self.stem}.png"

    @property
    def place(self) -> str:
        """Return key and step: a series has one image of each step."""
        return _place(self.stem)

    def write(self, path: Path) -> None:
        """Write the image as PNG."""
        write_atomic(path, Image.fromarray(self.image).save)

    @classmethod
    def read(cls, path: Path, content: bytes) -> "Picture":
        """Return what was written. Raises OSError, SyntaxError or ValueError where it is damaged."""
        return cls(np.array(Image.open(io.BytesIO(content)).convert("RGB")), path.stem.split("-", 1)[1], path)


class Outbox:
    """Sends points and images to a run in order, every FLUSH_SECONDS and by `flush`.

    What the store does not take waits in `directory` and survives a kill; a new Outbox on the same directory sends
    it. Nothing arrives twice: points keep their timestamps, images their names.
    """

    def __init__(self, writer: RunWriter, directory: Path) -> None:
        self.writer = writer
        self.directory = directory
        with storage_errors(directory):
            self._waiting = _load(directory)
        self._number = max((int(entry.file.name[:6]) for entry in self._waiting if entry.file), default=0)
        self._stems: dict[str, str] | None = None  # of the images in the store by place, once they were listed
        self._late: list[Points | Picture] = []  # what had to wait on disk and was sent since
        self._pause = 0.0  # seconds; above 0 during an outage
        self._due = time.monotonic() + FLUSH_SECONDS

    def add_points(self, step: int, values: Mapping[str, float]) -> None:
        """Take points of curves at a step."""
        now = int(time.time() * 1000)
        metrics = [Metric(key, float(value), now, step) for key, value in values.items()]
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, Points) and last.file is None and len(last.metrics) + len(metrics) <= BATCH:
            last.metrics += metrics
        else:
            self._waiting.append(Points(metrics))

    def add_image(self, key: str, step: int, image: np.ndarray) -> None:
        """Take an image, uint8 [H, W, 3], of the series `key`; one of that step that waits already stays."""
        place = f"{key.replace('/', '~')}+step+{step}"
        if not any(isinstance(entry, Picture) and entry.place == place for entry in self._waiting):
            self._waiting.append(Picture(image, f"{place}+timestamp+{int(time.time() * 1000)}+{uuid.uuid4()}"))

    def steps(self) -> dict[str, set[int]]:
        """Return the steps of which points wait, by curve."""
        curves: dict[str, set[int]] = {}
        for metric in (metric for entry in self._waiting if isinstance(entry, Points) for metric in entry.metrics):
            curves.setdefault(metric.key, set()).add(metric.step)
        return curves

    def tick(self) -> None:
        """Flush if it is time to; to be called between steps."""
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Send everything that was taken, or keep it in the directory: either way it survives a kill.

        During an outage the next attempt waits for its time. Raises UserError where the store refuses or the
        directory cannot be written.
        """
        if self._pause == 0 or time.monotonic() >= self._due:
            self._send_all(REQUEST_SECONDS)
        self._keep()

    def drain(self, patience_seconds: float = 60.0) -> None:
        """Send everything, trying again for so long.

        Raises UserError if something still waits then; it is kept in the directory.
        """
        deadline = time.monotonic() + patience_seconds
        left = patience_seconds
        while True:
            self._send_all(int(min(30, max(REQUEST_SECONDS, left))))  # a slow store may take longer now
            self._keep()
            if not self._waiting:
                return
            if left == patience_seconds:
                log.info("Waiting for the tracking store, for %.0f s at most.", patience_seconds)
            left = deadline - time.monotonic()
            if left <= 0:
                raise UserError(
                    f"The tracking store {self.writer.address} does not answer; {_counted(self._waiting)} wait in "
                    f"{self.directory}. Once it works again, the same command sends them."
                )
            time.sleep(min(DRAIN_PAUSE, left))

    def _send_all(self, seconds: int) -> None:
        """Send until nothing waits or the store does not answer. seconds: of a request."""
        while self._waiting:
            entry = self._waiting[0]
            try:
                with impatient(seconds):
                    self._send(entry)
            except (*StoreError, OSError) as error:
                self._postpone(error)
                return
            self._sent(entry)
        self._answers()

    def _sent(self, entry: Points | Picture) -> None:
        """Remove the first entry, which is in the store."""
        if entry.file is not None:
            if self._was_late(entry):
                self._late.append(entry)
            with storage_errors(self.directory):
                entry.file.unlink(missing_ok=True)
        self._remove_first()

    def _answers(self) -> None:
        """Note that the store has everything."""
        if self._late:
            log.info("The tracking store answers: %s that waited were sent.", _counted(self._late))
            self._late.clear()
            self._remove_directory()
        self._pause = 0.0
        self._due = time.monotonic() + FLUSH_SECONDS

    def _was_late(self, entry: Points | Picture) -> bool:
        """Return whether an entry waited because the store did not answer."""
        return entry.file is not None

    def _remove_first(self) -> None:
        del self._waiting[0]

    def _remove_directory(self) -> None:
        with suppress(OSError):
            self.directory.rmdir()

    def _send(self, entry: Points | Picture) -> None:
        if isinstance(entry, Points):
            self.writer.log_points(entry.metrics)
            return
        if self._stems is None:
            self._stems = {_place(stem): stem for stem in self.writer.stems_of_images()}
        # what a killed process stored of this image, whole or in part, is replaced
        self.writer.log_image_of_series(entry.image, self._stems.get(entry.place, entry.stem))

    def _postpone(self, error: Exception) -> None:
        """Set the time of the next attempt. Raises UserError for what no other attempt can change."""
        run_id = self.writer.run_id
        if not is_outage(error):
            raise UserError(
                f"run {run_id}: the tracking store {self.writer.address} refuses what the training writes: "
                f"{reason(error).rstrip('.')}. Restore the run (mlflow runs restore --run-id {run_id}) or allow "
                "writing to it, then run the same command again."
            ) from error
        if self._pause == 0:
            log.warning(
                "The tracking store %s does not answer (%s). Training goes on; what it writes waits in %s.",
                self.writer.address, reason(error), self.directory,
            )  # fmt: skip
        self._pause = min(LAST_PAUSE, max(FIRST_PAUSE, 2 * self._pause))
        self._due = time.monotonic() + self._pause

    def _keep(self) -> None:
        """Write what waits in memory alone to the directory. Raises UserError where that fails."""
        if not (unkept := [entry for entry in self._waiting if entry.file is None]):
            return
        with storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            fsync(self.directory.parent)
            for entry in unkept:
                self._number += 1
                file = self.directory / f"{self._number:06d}-{entry.name}"
                entry.write(file)
                entry.file = file


def _place(stem: str) -> str:
    return stem.partition("+timestamp+")[0]


def _counted(entries: Sequence[Points | Picture]) -> str:
    num_points = sum(len(entry.metrics) for entry in entries if isinstance(entry, Points))
    return f"{num_points:,} points and {sum(isinstance(entry, Picture) for entry in entries):,} images"


def _load(directory: Path) -> list[Points | Picture]:
    """Return what an earlier process left, in its order; what is damaged is named and dropped."""
    for unfinished in directory.glob(".*"):  # of a process that was killed while writing
        unfinished.unlink()
    found: list[Points | Picture] = []
    for path in sorted(directory.glob("[0-9]*-*")):
        content = path.read_bytes()
        try:
            found.append((Points if path.suffix == ".json" else Picture).read(path, content))
        except (ValueError, TypeError, OSError, SyntaxError):
            log.warning("%s is damaged: the tracking store will not get %s", path, path.stem.split("-", 1)[1])
            path.unlink()
    return found
