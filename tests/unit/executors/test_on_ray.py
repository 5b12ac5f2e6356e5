"""What the suite's process makes of its tasks' messages, with a stand-in for the cluster."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline.cells import FINISHED, Cell, Outcome
from pipeline.executors.board import Board
from pipeline.executors.execution import Execution
from pipeline.executors.on_ray import _Mailbox, _Tasks


class Cluster:
    """Runs a task where it is called; what it returns is its own reference."""

    exceptions = SimpleNamespace(
        RayError=RuntimeError, RayTaskError=ZeroDivisionError, TaskCancelledError=KeyboardInterrupt
    )

    def wait(self, tasks: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        """Return all: they are done."""
        return tasks, []

    def get(self, result: Any, timeout: float | None = None) -> Any:
        """Return what a reference refers to."""
        return result


def test_a_late_message_of_the_cells_before_is_no_news_of_these(tmp_path: Path) -> None:
    mailbox = _Mailbox()
    mailbox.put("real images", "start", ("node 1",))  # of the floor, whose board is gone
    mailbox.put("real images", "tell", ("real images", 1, 2))
    cell = Cell("dcgan-s0", "faces", (), variant="dcgan", num_images=1000)

    def run(job: Any, cell: Cell, sharing: Any, box: Any) -> tuple[Outcome, str]:
        mailbox.put(cell.name, "start", ("node 2",))
        return Outcome(FINISHED), ""

    board = Board([cell])
    handle = SimpleNamespace(take=SimpleNamespace(remote=mailbox.take))
    job: Any = None
    tasks = _Tasks(Cluster(), SimpleNamespace(remote=run), handle, job, board, Execution(logs=tmp_path))
    assert tasks.run([cell], lambda: False) == {"dcgan-s0": Outcome(FINISHED)}
    assert board.entries.keys() == {"dcgan-s0"}
    assert (board.entries["dcgan-s0"].where, board.entries["dcgan-s0"].attempts) == ("node 2", 1)
    assert mailbox.take() == []
