"""Cells as tasks of a Ray cluster (https://docs.ray.io): where a node dies, its cell goes on elsewhere."""

import importlib
import logging
import re
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gan
import pipeline
from gan.errors import Interrupted, UserError
from gan.files import storage_errors, write_text_atomic
from pipeline.cells import DEVICE_FAILED, DIED, FAILED, INTERRUPTED, Cell, Outcome
from pipeline.data.dataset import load_dataset
from pipeline.executors.board import Board, Run
from pipeline.executors.execution import Execution
from pipeline.executors.local import slug
from pipeline.executors.node import Environment, Job, host, run_on_node
from pipeline.sharing.checkpoints import Sharing
from pipeline.sharing.inputs import share_dataset, share_file
from pipeline.signals import graceful_stop
from pipeline.tracking import Store
from pipeline.workspace import Workspace

POLL_SECONDS = 1.0
CONNECT_SECONDS = 10.0
MAIL_SECONDS = 10.0  # for the messages of all tasks; later they come with the next ones
LEAVE_SECONDS = 120.0  # for the tasks to store what they have, once they were asked to stop
LOCAL = "local"  # address: a cluster of this machine alone, for as long as the suite runs

log = logging.getLogger(__name__)


@contextmanager
def ray_cluster(execution: Execution, *, device: str, store: Store, workspace: Workspace) -> Iterator[Run]:
    """Give a function that runs cells as tasks of a cluster, which this process is connected to during the block.

    Raises UserError where there is no cluster, or its machines cannot all reach what the cells need and leave. The
    function raises Interrupted after Ctrl-C or SIGTERM, once the tasks have stored what they had.
    """
    ray = _ray()
    _connect(ray, execution)
    try:
        _require_reach(ray, store)
        remote = _remote(ray, execution, device)
        mailbox = ray.remote(num_cpus=0, max_restarts=-1)(_Mailbox).remote()

        def run(cells: Sequence[Cell], board: Board) -> Mapping[str, Outcome]:
            tasks = _Tasks(ray, remote, mailbox, _job(cells, execution, store, workspace), board, execution)
            with graceful_stop() as asked:
                outcomes = tasks.run(cells, asked)
            if len(outcomes) < len(cells):
                raise Interrupted("Stopped, everything stored. The same command does the rest.")
            return outcomes

        yield run
    finally:
        ray.shutdown()


@dataclass
class _Attempt:
    """A task of a cell. tokens: of it and of the attempts before."""

    cell: Cell
    tokens: tuple[str, ...]


@dataclass
class _Tasks:
    """The tasks of a suite. remote: makes one. mailbox: what they write messages to."""

    ray: Any
    remote: Any
    mailbox: Any
    job: Job
    board: Board
    execution: Execution
    running: dict[Any, _Attempt] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def run(self, cells: Sequence[Cell], asked: Callable[[], bool]) -> dict[str, Outcome]:
        """Run all cells, or until a stop is asked for."""
        self.numbers = {cell.name: number for number, cell in enumerate(cells)}
        waiting = deque(_Attempt(cell, ()) for cell in cells)
        most = self.execution.jobs or len(cells)
        while (waiting or self.running) and not asked():
            while waiting and len(self.running) < most:
                self._submit(waiting.popleft())
            done, _ = self.ray.wait(list(self.running), timeout=POLL_SECONDS)
            self._read_mail()
            for task in done:
                attempt = self.running.pop(task)
                outcome = self._result(task, attempt)
                if again := self._again(attempt, outcome):
                    waiting.append(again)
        if asked():
            self._stop()
        return self.outcomes

    def _submit(self, attempt: _Attempt) -> None:
        sharing = Sharing(self.execution.share_seconds, replaces=attempt.tokens)
        task = self.remote.remote(self.job, attempt.cell, sharing, self.mailbox)
        self.running[task] = _Attempt(attempt.cell, (*attempt.tokens, sharing.token))

    def _read_mail(self) -> None:
        try:
            messages = self.ray.get(self.mailbox.take.remote(), timeout=MAIL_SECONDS)
        except self.ray.exceptions.RayError:  # its node died too: it is begun again on another one, empty
            return
        for name, kind, content in messages:
            if name not in self.numbers:  # of cells that were run before these, and late: their board is gone
                continue
            (self.board.start if kind == "start" else self.board.tell)(name, *content)

    def _result(self, task: Any, attempt: _Attempt) -> Outcome:
        """Return how a task ended; what it printed goes to the log of its cell."""
        try:
            outcome: Outcome
            outcome, text = self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:  # a bug of ours, or what the node lacks
            return Outcome(FAILED, str(error).strip().splitlines()[-1])
        except self.ray.exceptions.TaskCancelledError:
            return Outcome(INTERRUPTED, "Stopped.")
        except self.ray.exceptions.RayError as error:
            return Outcome(DIED, f"its node or process died ({type(error).__name__})")
        file = self.execution.logs / f"{self.numbers[attempt.cell.name]:04d}-{slug(attempt.cell.name)}.log"
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            earlier = file.read_text(encoding="utf-8") if file.exists() else ""
            write_text_atomic(file, earlier + text)
        return outcome

    def _again(self, attempt: _Attempt, outcome: Outcome) -> _Attempt | None:
        """Return what is to be tried again; note the outcome of what is not."""
        name = attempt.cell.name
        if outcome.status in (DEVICE_FAILED, DIED, INTERRUPTED):
            if len(attempt.tokens) <= self.execution.retries:
                self.board.requeue(name, outcome.reason)
                return attempt
            outcome = Outcome(FAILED, f"{outcome.reason.rstrip('.')}; tried {len(attempt.tokens)} times")
        self.outcomes[name] = outcome
        self.board.end(name, outcome)
        return None

    def _stop(self) -> None:
        """Ask the tasks to store what they have and to end; wait for that."""
        for task in self.running:
            self.ray.cancel(task, force=False)
        deadline = time.monotonic() + LEAVE_SECONDS
        while self.running and time.monotonic() < deadline:
            done, _ = self.ray.wait(list(self.running), timeout=POLL_SECONDS)
            for task in done:
                attempt = self.running.pop(task)
                self._result(task, attempt)


def _task(job: Job, cell: Cell, sharing: Sharing, mailbox: Any) -> tuple[Outcome, str]:
    """Run a cell on the node that Ray chose."""
    ray = importlib.import_module("ray")
    node = ray.get_runtime_context().get_node_id()[:6]
    mailbox.put.remote(cell.name, "start", (f"{host()} ({node})",))
    return run_on_node(job, cell, sharing, lambda *bar: mailbox.put.remote(cell.name, "tell", bar))


class _Mailbox:
    """What tasks have to say, until the suite's process asks for it."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, tuple[Any, ...]]] = []

    def put(self, name: str, kind: str, content: tuple[Any, ...]) -> None:
        """Take a message."""
        self.messages.append((name, kind, content))

    def take(self) -> list[tuple[str, str, tuple[Any, ...]]]:
        """Return all messages, and keep none."""
        messages, self.messages = self.messages, []
        return messages


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError("--executor ray needs Ray. Run `pip install 'gan-benchmark[ray]'`.") from error


def _connect(ray: Any, execution: Execution) -> None:
    """Connect to the cluster; it gets this working tree's code, if that is not installed on its nodes."""
    environment: dict[str, Any] = {}
    if execution.ship:
        environment = {
            "py_modules": [str(Path(module.__file__).parent) for module in (gan, pipeline) if module.__file__],
            "excludes": ["**/__pycache__"],
        }
    try:
        if found := re.fullmatch(
            r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", execution.address
        ):  # Ray itself tries for minutes
            socket.create_connection((found[1], int(found[2])), timeout=CONNECT_SECONDS).close()
        ray.init(
            address=execution.address, runtime_env=environment, log_to_driver=False, logging_level=logging.WARNING,
            **({"include_dashboard": False} if execution.address == LOCAL else {}),
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, OverflowError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UserError(
            f"--address {execution.address}: no Ray cluster answers ({reason}). Start one with `ray start --head`, or "
            "use --address local for one of this machine alone."
        ) from error


def _remote(ray: Any, execution: Execution, device: str) -> Any:
    """Return the function that makes a task, with what a cell takes of a node."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus, cpus = execution.gpus, execution.cpus or 1
    if gpus is None:
        gpus = 1.0 if device != "cpu" and any(node.get("GPU") for node in nodes) else 0.0
    if not any(node.get("GPU", 0) >= gpus and node.get("CPU", 0) >= cpus for node in nodes):
        log.warning(
            "No node has %d CPU(s) and %g GPU(s) for a cell: waiting for one, which an autoscaler may add. "
            "--cpus-per-cell and --gpus-per-cell change it.", cpus, gpus,
        )  # fmt: skip
    return ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(_task)


def _require_reach(ray: Any, store: Store) -> None:
    """Raise UserError where cells would write into files of their nodes that nobody else sees."""
    elsewhere = sorted({node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]} - {host()})
    if not elsewhere:
        return
    where = f"the nodes {', '.join(elsewhere[:3])} of the cluster cannot reach it"
    if not store.uri.startswith(("http://", "https://")):
        raise UserError(
            f"MLFLOW_TRACKING_URI: the tracking store is a file or database of this machine, and {where}. Start a "
            "server (docs/server.md) and set MLFLOW_TRACKING_URI=http://HOST:PORT."
        )
    location = store.artifact_location
    if location.startswith(("/", "file:", "./")):
        raise UserError(
            f"MLFLOW_TRACKING_URI: artifacts lie in {location} of the server, and {where}. Start the server with "
            "--artifacts-destination and use an experiment of its own (MLFLOW_EXPERIMENT_NAME; docs/server.md)."
        )


def _job(cells: Sequence[Cell], execution: Execution, store: Store, workspace: Workspace) -> Job:
    """Put what all cells need where the nodes can fetch it."""
    weights = {options.weights for cell in cells for options in cell.measurements if options.weights is not None}
    return Job(
        uri=store.uri,
        experiment_id=store.experiment_id,
        commit=store.code_commit,
        dataset=share_dataset(load_dataset(cells[0].dataset, workspace.data), store, execution.shared),
        weights=share_file(weights.pop(), store, execution.shared) if weights else None,
        environment=Environment.of_this_process(),
        num_threads=execution.cpus or 1,
    )
