"""What is said of the cells while they run."""

import io

import pytest
from rich.console import Console

from pipeline.cells import FAILED, FINISHED, Cell, Outcome
from pipeline.executors.board import Board


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cell(name: str, num_images: int = 1000) -> Cell:
    return Cell(name, "faces", (), variant="dir/wgan.yaml", num_images=num_images)


def shown(board: Board) -> str:
    file = io.StringIO()
    Console(file=file, width=120).print(board.table())
    return file.getvalue()


def test_the_remaining_time_goes_by_the_images_that_were_trained_here(clock: Clock) -> None:
    board = Board([cell("a"), cell("b"), cell("c", 2000)], clock)
    assert board.remaining_seconds() is None
    board.start("a", "worker 0")
    board.tell("a", "wgan", 0, 1000)
    clock.now = 10.0
    board.tell("a", "wgan", 500, 1000)  # 500 images in 10 s, 3500 are left
    assert board.remaining_seconds() == pytest.approx(70.0)
    board.tell("a", "a last, seed 1000", 3, 100)  # its measurement: no step back
    assert board.remaining_seconds() == pytest.approx(70.0)
    board.end("a", Outcome(FINISHED))
    board.start("b", "worker 0")
    board.end("b", Outcome(FINISHED))  # had been trained before: it took no time and says nothing of the rate
    clock.now = 20.0
    assert board.remaining_seconds() == pytest.approx(2000 / 1000 * 20.0)


def test_what_was_trained_before_counts_as_done_and_not_as_fast(clock: Clock) -> None:
    board = Board([cell("a")], clock)
    board.start("a", "worker 0")
    board.tell("a", "wgan", 800, 1000)  # resumed
    clock.now = 5.0
    board.tell("a", "wgan", 900, 1000)
    assert board.remaining_seconds() == pytest.approx(5.0)


def test_states_are_counted_and_failures_stay_in_sight(clock: Clock) -> None:
    board = Board([cell(name) for name in "abcd"], clock)
    board.start("a", "worker 0")
    board.start("b", "worker 1")
    board.tell("b", "wgan", 250, 1000)
    board.end("a", Outcome(FAILED, "diverged"))
    clock.now = 61.0
    assert board.summary().startswith("0/4 done, 1 failed, 1 running, 0:01:01 so far")
    text = shown(board)
    assert "diverged" in text
    assert "worker 1" in text
    assert "25" in text
    board.requeue("b", "its node died")
    assert board.summary().startswith("0/4 done, 1 failed, 0 running")
    board.start("b", "worker 2")
    assert board.entries["b"].attempts == 2
    board.requeue("c", "its node died, with what it had said")
    board.start("c", "worker 2")
    assert board.entries["c"].attempts == 2


@pytest.mark.parametrize(
    ("outcome", "counted"),
    [(Outcome(FINISHED), "1/2 done, 1 running"), (Outcome(FAILED), "0/2 done, 1 failed, 1 running")],
)
def test_news_after_the_end_do_not_bring_a_cell_back(clock: Clock, outcome: Outcome, counted: str) -> None:
    board = Board([cell("a"), cell("b")], clock)
    board.start("b", "node 1")
    board.tell("b", "wgan", 100, 1000)
    clock.now = 10.0
    board.end("a", outcome)  # of a cluster the result may come before what the cell said of itself
    remaining = board.remaining_seconds()
    board.start("a", "node 2")
    board.tell("a", "wgan", 0, 1000)
    assert board.summary().startswith(counted)
    assert board.remaining_seconds() == remaining
    assert "node 2" not in shown(board)


def test_a_name_is_text_and_no_markup(clock: Clock) -> None:
    board = Board([cell("[red]a[/red] [/nothing]")], clock)
    board.start("[red]a[/red] [/nothing]", "[b]x")
    assert "[red]a[/red] [/nothing]" in shown(board)
