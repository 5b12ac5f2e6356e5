"""A process that runs the cells which another one sends: one line of JSON each way.

It reads {"cell": ..., "log": file, "root": folder}, writes {"bar": [what, done, total]} now and then, and
{"outcome": ...} at the end. When whoever sends is gone, it stops as after SIGTERM.
"""

import json
import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from pipeline.console import interrupt, log_in_lines

log = logging.getLogger(__name__)


def main() -> None:
    """Serve until the sender closes the connection, or a cell ends in a way after which nothing else should run."""
    signal.signal(signal.SIGTERM, interrupt)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed is no answer
    log_in_lines()
    requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), name="requests", daemon=True).start()
    try:
        while (request := requests.get()) is not None:
            if not _serve(request, answers):
                return
    except KeyboardInterrupt:  # asked to stop between two cells
        return


def _listen(requests: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    for line in sys.stdin:
        requests.put(json.loads(line))
    requests.put(None)
    os.kill(os.getpid(), signal.SIGTERM)


def _serve(request: dict[str, Any], answers: Any) -> bool:
    """Run one cell; return whether another may follow."""
    log_file = os.open(Path(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(log_file, descriptor)
    os.close(log_file)

    from pipeline.cells import DEVICE_FAILED, INTERRUPTED, run_cell
    from pipeline.executors.local import CELL, OUTCOME
    from pipeline.progress import told_to
    from pipeline.tracking import connect
    from pipeline.workspace import Workspace

    def tell(what: str, done: float, total: float) -> None:
        answers.write(json.dumps({"bar": [what, done, total]}) + "\n")

    cell = CELL.validate_python(request["cell"])
    log.info("%s", cell.name)
    with told_to(tell):
        outcome = run_cell(cell, store=connect(), workspace=Workspace(Path(request["root"])))
    log.info("%s: %s %s", cell.name, outcome.status, outcome.reason)
    answers.write(json.dumps({"outcome": OUTCOME.dump_python(outcome, mode="json")}) + "\n")
    return outcome.status not in (DEVICE_FAILED, INTERRUPTED)


if __name__ == "__main__":
    main()
