"""Cells in processes of this machine: as many workers as asked for, a GPU or a part of one each, a log a cell."""

import json
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from gan.errors import DeviceError, Interrupted
from gan.files import storage_errors
from pipeline.cells import DEVICE_FAILED, DIED, FAILED, INTERRUPTED, Cell, Outcome
from pipeline.executors.board import Board, Run
from pipeline.executors.execution import Execution, deal, threads, visible_gpus
from pipeline.signals import graceful_stop
from pipeline.tracking import Store
from pipeline.workspace import Workspace

POLL_SECONDS = 0.5
LEAVE_SECONDS = 120.0  # for a worker to store what it has, once it was asked to stop

CELL, OUTCOME = TypeAdapter(Cell), TypeAdapter(Outcome)

log = logging.getLogger(__name__)


@contextmanager
def local_workers(execution: Execution, *, device: str, store: Store, workspace: Workspace) -> Iterator[Run]:
    """Give a function that runs cells in `execution.jobs` processes, which end with the block.

    A worker that dies is replaced and its cell goes on in another; one whose GPU failed is not. The function raises
    Interrupted after Ctrl-C or SIGTERM, once the workers have stored what they had, and DeviceError without a GPU left.
    """
    jobs = execution.jobs or 1
    gpus = deal(jobs, visible_gpus(device), 1.0 if execution.gpus is None else execution.gpus)
    slots = _slots(gpus, threads(execution, jobs), store, workspace)
    try:
        yield lambda cells, board: _run(cells, board, slots, execution)
    finally:
        for slot in slots:
            slot.close()
        for slot in slots:
            slot.wait()


def _run(cells: Sequence[Cell], board: Board, slots: Sequence["Slot"], execution: Execution) -> dict[str, Outcome]:
    free: queue.Queue[Slot] = queue.Queue()
    for slot in slots:
        free.put(slot)

    def run(number: int, cell: Cell) -> Outcome:
        file = execution.logs / f"{number:04d}-{slug(cell.name)}.log"
        for _ in range(execution.retries + 1):
            slot = free.get()
            if slot.closed or not slot.usable:
                free.put(slot)  # for the next one that waits
                return Outcome(INTERRUPTED if slot.closed else DEVICE_FAILED, "no GPU is left")
            board.start(cell.name, slot.name)
            outcome = slot.run(cell, file, lambda *bar: board.tell(cell.name, *bar))
            slot.usable = outcome.status != DEVICE_FAILED
            if slot.usable or not any(each.usable for each in slots):
                free.put(slot)
            if outcome.status not in (DEVICE_FAILED, DIED):
                return outcome
            if slot.closed:  # it was asked to
                return Outcome(INTERRUPTED)
            board.requeue(cell.name, outcome.reason)
        return Outcome(FAILED, f"{outcome.reason.rstrip('.')}; tried {execution.retries + 1} times. See {file}")

    with graceful_stop() as asked, ThreadPoolExecutor(len(slots)) as pool:
        futures = {pool.submit(run, number, cell): cell for number, cell in enumerate(cells)}
        try:
            outcomes = _collect(futures, board, asked)
        finally:
            if not all(future.done() for future in futures):
                for slot in slots:
                    slot.close()
    if len(outcomes) < len(cells):
        raise Interrupted("Stopped, everything stored. The same command does the rest.")
    return outcomes


def _collect(futures: Mapping[Future[Outcome], Cell], board: Board, asked: Callable[[], bool]) -> dict[str, Outcome]:
    """Wait for the cells, or for a signal; return how those ended that did."""
    outcomes: dict[str, Outcome] = {}
    waiting = set(futures)
    while waiting and not asked():
        done, waiting = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            name, outcome = futures[future].name, future.result()
            if outcome.status == DEVICE_FAILED:
                raise DeviceError(f"{name}: {outcome.reason}. No GPU is left; what was finished is kept.")
            board.end(name, outcome)
            outcomes[name] = outcome
    return outcomes


def slug(name: str) -> str:
    """Return a cell's name as a part of a file name."""
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", name).strip("-")[:100]


@dataclass
class Slot:
    """A place for one cell at a time: a worker process, begun when the first cell comes, with its part of the machine.

    usable: False once its GPU failed. closed: no worker is to be begun any more.
    """

    name: str
    environment: Mapping[str, str]
    workspace: Workspace
    usable: bool = True
    closed: bool = False
    worker: "subprocess.Popen[str] | None" = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, cell: Cell, file: Path, tell: Callable[[str, float, float], None]) -> Outcome:
        """Have a cell run; what it prints goes to `file`."""
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        if (worker := self._started()) is None:
            return Outcome(INTERRUPTED)
        cell_json = CELL.dump_python(cell, mode="json")
        request = {"cell": cell_json, "log": str(file.absolute()), "root": str(self.workspace.root)}
        try:
            print(json.dumps(request), file=worker.stdin, flush=True)
            for line in worker.stdout or ():
                message = json.loads(line)
                if "outcome" in message:
                    outcome = OUTCOME.validate_python(message["outcome"])
                    if outcome.status in (DEVICE_FAILED, INTERRUPTED):  # it leaves by itself
                        self._ended(worker)
                    return outcome
                tell(*message["bar"])
        except OSError:  # it died before it read the cell
            pass
        return Outcome(DIED, f"its process was ended by {_cause(self._ended(worker))}")

    def close(self) -> None:
        """Ask the worker to store what it has and to end; no other is begun."""
        with self.lock:
            self.closed = True
            if self.worker is not None and self.worker.poll() is None:
                self.worker.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait until a worker that was asked to end has ended; one that does not is killed."""
        if self.worker is None:
            return
        try:
            self.worker.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("%s did not end within %.0f s: killed; its last checkpoint is kept.", self.name, LEAVE_SECONDS)
            self.worker.kill()
            self.worker.wait()

    def _started(self) -> "subprocess.Popen[str] | None":
        with self.lock:
            if self.worker is None and not self.closed:
                command = [sys.executable, "-m", "pipeline.executors.worker"]
                self.worker = subprocess.Popen(  # noqa: S603 -- in a session of its own: Ctrl-C is passed on by us
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
                    env=os.environ | dict(self.environment),
                )  # fmt: skip
            return self.worker

    def _ended(self, worker: "subprocess.Popen[str]") -> int:
        """Wait for a worker that has left; the next cell begins another."""
        status = worker.wait()
        with self.lock:
            self.worker = None
        return status


def _cause(status: int) -> str:
    if status == -signal.SIGKILL:
        return "signal 9: killed, perhaps for want of memory"
    return f"signal {-status}" if status < 0 else f"itself, with exit status {status}"


def _slots(gpus: Sequence[str], num_threads: int, store: Store, workspace: Workspace) -> list[Slot]:
    common = {"MLFLOW_TRACKING_URI": store.uri, "OMP_NUM_THREADS": str(num_threads)}
    if os.environ.get("MLFLOW_EXPERIMENT_ID") is None:
        common["MLFLOW_EXPERIMENT_ID"] = store.experiment_id
    return [
        Slot(
            f"worker {number}" + (f", GPU {gpu}" if gpu else ""),
            common | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {}),
            workspace,
        )
        for number, gpu in enumerate(gpus)
    ]
