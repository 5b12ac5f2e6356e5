"""An outbox that sends in a thread of its own: a slow store does not slow the steps of a training."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from gan.errors import UserError
from pipeline.tracking.entries import CheckpointFiles, Entry
from pipeline.tracking.failures import REQUEST_SECONDS, StoreError, impatient
from pipeline.tracking.outbox import FLUSH_SECONDS, Outbox
from pipeline.tracking.runs import RunWriter


class BackgroundOutbox(Outbox):
    """Keeps everything in its directory first and sends it from there, in order, beside what else is done.

    Only what lies in a file is sent by the thread; only what does not is changed by the other methods.
    """

    def __init__(self, writer: RunWriter, directory: Path, allowed: Callable[[], None] = lambda: None) -> None:
        super().__init__(writer, directory, allowed)
        self._lock = threading.Lock()  # of the list of what waits
        self._thread: threading.Thread | None = None
        self._leave = threading.Event()
        self._refused: UserError | None = None
        self._overdue = {id(entry) for entry in self._waiting}  # what a store that does not answer made wait

    def add_points(self, step: int, values: Mapping[str, float]) -> None:
        """Take points of curves at a step."""
        with self._lock:
            super().add_points(step, values)

    def add_image(self, key: str, step: int, image: np.ndarray) -> None:
        """Take an image, uint8 [H, W, 3], of the series `key`; one of that step that waits already stays."""
        with self._lock:
            super().add_image(key, step, image)

    def add_checkpoint(self, files: CheckpointFiles) -> bool:
        """Take files of a checkpoint, to be sent after all that was taken before; False while others still wait."""
        with self._lock:
            return super().add_checkpoint(files)

    def flush(self) -> None:
        """Keep everything that was taken in the directory, where it survives a kill, and have it sent.

        Raises UserError where the store refused something or the directory cannot be written.
        """
        if self._refused is not None:
            raise self._refused
        self._keep()
        if self._pause:
            self._overdue |= {id(entry) for entry in self._waiting}
        if self._pause and time.monotonic() < self._due and not self._is_sending():
            return
        self._due = time.monotonic() + FLUSH_SECONDS
        if self._is_sending():  # it goes on to what was kept now
            return
        self._thread = threading.Thread(target=self._send_kept, name="outbox", daemon=True)
        self._thread.start()

    def drain(self, patience_seconds: float = 60.0) -> None:
        """Send everything, trying again for so long.

        Raises UserError if something still waits then; it is kept in the directory.
        """
        self._leave.set()
        if self._thread is not None:
            self._thread.join()
        self._leave.clear()
        if self._refused is not None:
            raise self._refused
        self._keep()
        super().drain(patience_seconds)
        with suppress(OSError):
            self.directory.rmdir()

    def _is_sending(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _send_kept(self) -> None:
        """Send what lies in files, until nothing does or the store does not answer."""
        try:
            while not self._leave.is_set() and self._waiting and self._waiting[0].file is not None:
                entry = self._waiting[0]
                try:
                    with impatient(REQUEST_SECONDS):
                        self._send(entry)
                except (*StoreError, OSError) as error:
                    self._postpone(error)
                    self._overdue |= {id(each) for each in list(self._waiting)}
                    return
                self._sent(entry)
            if not self._leave.is_set():
                self._answers()
        except UserError as error:
            self._refused = error

    def _was_late(self, entry: Entry) -> bool:
        return id(entry) in self._overdue

    def _remove_first(self) -> None:
        with self._lock:
            self._overdue.discard(id(self._waiting[0]))
            del self._waiting[0]

    def _remove_directory(self) -> None:
        """Leave it: the other thread may be about to write into it."""
