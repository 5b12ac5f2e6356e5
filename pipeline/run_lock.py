"""One process at a time begins a training, and one trains a run: locks among the checkpoints."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from gan.errors import UserError
from gan.files import storage_errors, write_json_atomic
from pipeline.tracking import Run


@contextmanager
def beginning(checkpoints: Path, fingerprint: str) -> Iterator[None]:
    """Let no other process look for a training of this fingerprint before this one holds its run, or leaves it.

    A new run is in the tracking store before its checkpoints can be locked: another process would take it in between.
    Where no file can be written there is nothing to protect: what trains says so.
    """
    with ExitStack() as held:
        with suppress(OSError):
            checkpoints.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(checkpoints / f".{fingerprint[:12]}.lock"))
        yield


@contextmanager
def in_use(directory: Path, run: Run | None) -> Iterator[None]:
    """Hold the lock of a run's checkpoints, which says who holds it; it is free when the process ends, however it ends.

    Raises UserError that names the process that holds it.
    """
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    owner = directory / ".owner.json"
    lock = FileLock(directory / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        name = f"run {run.run_id} ({run.name})" if run else f"the run of {directory}"
        raise UserError(
            f"{name} is being trained by another process, {_described(owner)}. Wait for it or stop it first."
        ) from None
    try:
        began = datetime.now().astimezone().isoformat(timespec="seconds")
        with storage_errors(directory):
            write_json_atomic(owner, {"process": os.getpid(), "host": socket.gethostname(), "since": began})
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _described(owner: Path) -> str:
    try:
        content = json.loads(owner.read_text())
        return f"{content['process']} on {content['host']} since {content['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "which has just begun"
