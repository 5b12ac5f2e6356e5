"""What runs, what is done, what failed, and when all of it will be: on the error stream, as a table where it can be."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.table import Table
from rich.text import Text

from pipeline.cells import FINISHED, Cell, Outcome

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
SUMMARY_SECONDS = 30.0  # from one line to the next where no table can be shown
MOST_ROWS = 30  # of the table: what runs, then what failed last

log = logging.getLogger(__name__)


Run = Callable[[Sequence[Cell], "Board"], Mapping[str, Outcome]]
"""Runs cells, shows them on a board, and returns how each ended."""


@dataclass
class Entry:
    """A cell as the board knows it.

    where: node or process. doing, done, total: its bar. trained: share of the training that is done, 0 to 1; what
    follows it counts nothing. found: the share that was done before. attempts: begun so far.
    """

    cell: Cell
    state: str = WAITING
    where: str = ""
    doing: str = ""
    done: float = 0.0
    total: float = 0.0
    trained: float = 0.0
    found: float | None = None
    began: float = 0.0
    seconds: float = 0.0
    attempts: int = 0
    reason: str = ""

    def tell(self, doing: str, done: float, total: float) -> None:
        """Note how far it is."""
        self.doing, self.done, self.total = doing, done, total
        if total > 0 and doing == self.cell.title:
            self.trained = max(self.trained, min(1.0, done / total))
            self.found = self.trained if self.found is None else self.found

    def end(self, outcome: Outcome) -> None:
        """Note how it ended."""
        self.state = DONE if outcome.status == FINISHED else FAILED
        self.reason, self.trained = outcome.reason, 1.0
        self.found = 1.0 if self.found is None else self.found  # its training was done already, or never began


class Board:
    """The state of all cells, fed from any thread. clock: seconds, monotonic.

    News of a cell may come late; of one that has ended they are dropped.
    """

    def __init__(self, cells: Sequence[Cell], clock: Callable[[], float] = time.monotonic) -> None:
        self.entries = {cell.name: Entry(cell) for cell in cells}
        self.clock, self.began = clock, clock()
        self._lock = threading.Lock()

    def start(self, name: str, where: str) -> None:
        """Note that a cell runs, on a node or in a process."""
        with self._lock:
            entry = self.entries[name]
            if entry.state in (DONE, FAILED):
                return
            entry.state, entry.where, entry.began = RUNNING, where, self.clock()
            entry.doing, entry.done, entry.total = "", 0.0, 0.0
            entry.attempts += 1
        log.info("%s: on %s%s", name, where, f" (attempt {entry.attempts})" if entry.attempts > 1 else "")

    def tell(self, name: str, doing: str, done: float, total: float) -> None:
        """Note how far a cell is."""
        with self._lock:
            entry = self.entries[name]
            if entry.state not in (DONE, FAILED):
                entry.tell(doing, done, total)

    def end(self, name: str, outcome: Outcome) -> None:
        """Note how a cell ended."""
        with self._lock:
            entry = self.entries[name]
            entry.end(outcome)
            entry.seconds = self.clock() - (entry.began if entry.attempts else self.began)  # news may be late
        if entry.state == DONE:
            log.info("%s: done in %s", name, _duration(entry.seconds))
        else:
            log.error("%s: %s: %s", name, outcome.status, outcome.reason)

    def requeue(self, name: str, why: str) -> None:
        """Note that a cell has to begin again elsewhere."""
        with self._lock:
            entry = self.entries[name]
            if entry.state == WAITING:  # that it had begun was never heard: lost with its node
                entry.attempts += 1
            entry.state = WAITING
        log.warning("%s: %s; it goes on elsewhere.", name, why.rstrip("."))

    def count(self, state: str) -> int:
        """Return how many cells are in a state."""
        return sum(entry.state == state for entry in self.entries.values())

    def remaining_seconds(self) -> float | None:
        """Return how long the rest will take at the rate so far, in images of the trainings; None while unknown."""
        with self._lock:
            entries = self.entries.values()
            left = sum((1 - entry.trained) * entry.cell.num_images for entry in entries)
            worked = sum((entry.trained - (entry.found or 0.0)) * entry.cell.num_images for entry in entries)
            return left / worked * (self.clock() - self.began) if worked > 0 else None

    def summary(self) -> str:
        """Return the state of all in a line."""
        remaining = self.remaining_seconds()
        busy = self.count(WAITING) + self.count(RUNNING) > 0
        parts = [
            f"{self.count(DONE)}/{len(self.entries)} done",
            f"{self.count(FAILED)} failed" if self.count(FAILED) else "",
            f"{self.count(RUNNING)} running",
            f"{_duration(self.clock() - self.began)} so far",
            f"ETA {_duration(remaining)}" if remaining is not None and busy else "",
        ]
        return ", ".join(part for part in parts if part)

    def table(self) -> Table:
        """Return what runs and what failed, for a terminal."""
        table = Table(title=Text(self.summary()), title_justify="left", expand=True)
        for header in ("cell", "on", "doing", "%", "for"):
            table.add_column(header, justify="right" if header in ("%", "for") else "left", no_wrap=True)
        with self._lock:
            shown = [entry for entry in self.entries.values() if entry.state == RUNNING]
            shown += [entry for entry in self.entries.values() if entry.state == FAILED][-MOST_ROWS // 2 :]
            for entry in shown[:MOST_ROWS]:
                running = entry.state == RUNNING
                percent = f"{100 * entry.done / entry.total:.0f}" if running and entry.total else ""
                seconds = self.clock() - entry.began if running else entry.seconds
                row = [entry.cell.name, entry.where, entry.doing if running else f"failed: {entry.reason}"]
                table.add_row(*map(Text, [*row, percent, _duration(seconds)]), style=None if running else "red")
        return table

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the board until the block ends: a table that stays in place in a terminal, else a line now and then."""
        with _live(self) if sys.stderr.isatty() else _lines(self):
            yield


@contextmanager
def _live(board: Board) -> Iterator[None]:
    console = Console(stderr=True)
    root = logging.getLogger()
    before = root.handlers
    root.handlers = [RichHandler(console=console, show_time=False, show_level=False, show_path=False)]
    try:
        with Live(get_renderable=board.table, console=console, refresh_per_second=2):
            yield
    finally:
        root.handlers = before


@contextmanager
def _lines(board: Board) -> Iterator[None]:
    leave = threading.Event()

    def speak() -> None:
        while not leave.wait(SUMMARY_SECONDS):
            log.info("%s", board.summary())

    thread = threading.Thread(target=speak, name="board", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leave.set()
        thread.join()
        log.info("%s", board.summary())


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
