"""What a training writes waits here until the tracking store has it: an outage loses nothing and stops nothing."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from mlflow.entities import Metric

from gan.errors import UserError
from gan.files import fsync, storage_errors
from pipeline.tracking.entries import CheckpointFiles, Entry, Picture, Points, counted, load_entries, place_of
from pipeline.tracking.failures import REQUEST_SECONDS, StoreError, impatient, is_outage, reason, remedy
from pipeline.tracking.runs import RunWriter

FLUSH_SECONDS = 10.0
BATCH = 1000  # points a request, MLflow's maximum
FIRST_PAUSE, LAST_PAUSE = 5.0, 60.0  # seconds between attempts during an outage; doubled each time
DRAIN_PAUSE = 2.0  # at the end nothing else has to be done

log = logging.getLogger(__name__)


class Outbox:
    """Sends points and images to a run in order, every FLUSH_SECONDS and by `flush`.

    What the store does not take waits in `directory` and survives a kill; a new Outbox on the same directory sends
    it. Nothing arrives twice: points keep their timestamps, images their names.

    allowed: called before something is sent; it raises UserError where this process may not write to the run any more.
    """

    def __init__(self, writer: RunWriter, directory: Path, allowed: Callable[[], None] = lambda: None) -> None:
        self.writer = writer
        self.directory = directory
        self.allowed = allowed
        with storage_errors(directory):
            self._waiting = load_entries(directory)
        self._number = max((int(entry.file.name[:6]) for entry in self._waiting if entry.file), default=0)
        self._stems: dict[str, str] | None = None  # of the images in the store by place, once they were listed
        self._late: list[Entry] = []  # what had to wait on disk and was sent since
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

    def add_checkpoint(self, files: CheckpointFiles) -> bool:
        """Take files of a checkpoint, to be sent after all that was taken before; False while others still wait.

        What the checkpoint has passed is then in the store before it, so that no point is missing for who goes on.
        """
        if any(isinstance(entry, CheckpointFiles) for entry in self._waiting):
            return False
        self._waiting.append(files.linked(self.directory))
        return True

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
                    f"The tracking store {self.writer.address} does not answer; {counted(self._waiting)} wait in "
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

    def _sent(self, entry: Entry) -> None:
        """Remove the first entry, which is in the store."""
        if entry.file is not None:
            if self._was_late(entry):
                self._late.append(entry)
            with storage_errors(self.directory):
                entry.remove()
        self._remove_first()

    def _answers(self) -> None:
        """Note that the store has everything."""
        if self._late:
            log.info("The tracking store answers: %s that waited were sent.", counted(self._late))
            self._late.clear()
            self._remove_directory()
        self._pause = 0.0
        self._due = time.monotonic() + FLUSH_SECONDS

    def _was_late(self, entry: Entry) -> bool:
        """Return whether an entry waited because the store did not answer."""
        return entry.file is not None

    def _remove_first(self) -> None:
        del self._waiting[0]

    def _remove_directory(self) -> None:
        with suppress(OSError):
            self.directory.rmdir()

    def _send(self, entry: Entry) -> None:
        self.allowed()
        if isinstance(entry, Points):
            self.writer.log_points(entry.metrics)
            return
        if isinstance(entry, CheckpointFiles):
            entry.send(self.writer)
            return
        if self._stems is None:
            self._stems = {place_of(stem): stem for stem in self.writer.stems_of_images()}
        # what a killed process stored of this image, whole or in part, is replaced
        self.writer.log_image_of_series(entry.image, self._stems.get(entry.place, entry.stem))

    def _postpone(self, error: Exception) -> None:
        """Set the time of the next attempt. Raises UserError for what no other attempt can change."""
        run_id = self.writer.run_id
        if not is_outage(error):
            raise UserError(
                f"run {run_id}: the tracking store {self.writer.address} refuses what the training writes: "
                f"{reason(error).rstrip('.')}; "
                + remedy(error, f"restore the run (mlflow runs restore --run-id {run_id}) or allow writing to it")
                + ", then run the same command again."
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
