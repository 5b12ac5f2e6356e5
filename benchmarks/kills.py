"""A suite that is killed again and again ends with the table of one that was left alone.

    python benchmarks/kills.py --kills 50 --json kills.json

Runs a tiny suite undisturbed, then the same command in another folder, where its process group gets SIGKILL at random
moments, each time followed by the same command. The moments are drawn over the length that each stage has undisturbed,
so many of each stage as KILLS_OF_STAGE says; one that is done already leaves its kills to the next. At the end it may
finish, and everything in the two folders is compared: see `differences` of tests/leftovers.py.
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from tests.leftovers import differences
from tests.processes import Running, start

SUITE = """
title: A tiny suite
dataset: {name: tiny, sources: [avatars], num_images: 48, held_out: 8}
seeds: [0]
evaluation: {extractors: [efficientnet_lite0], num_samples: 20, num_seeds: 2, every_epochs: 0.5, curve_samples: 8}
set: {batch_size: 4, max_steps: 10}
cells:
  - variant: dcgan
  - variant: wgan
"""
COMMAND = ("run", "tiny.yaml")
# Stages in their order, and how many of 50 kills are aimed at each. store: from the start to the first stage, mostly
# the database being made. floor: features of the reference and of real images. publish: the end of `train`.
KILLS_OF_STAGE = {
    "store": 3, "prepare": 7, "floor": 7, "train": 13, "publish": 6, "sample": 3, "evaluate": 6, "report": 5,
}  # fmt: skip
EARLY = 0.6  # share of a stage for all but the last kill that is aimed at it: else it might be over before the others
OF_CELLS = ("train", "publish", "sample", "evaluate")
NUM_CELLS = 2
PLACES = [
    *((stage, 0) for stage in KILLS_OF_STAGE if stage not in (*OF_CELLS, "report")),
    *((stage, cell) for cell in range(NUM_CELLS) for stage in OF_CELLS),
    ("report", 0),
]

Place = tuple[str, int]
"""A stage and, of those that run once for each cell, the number of the cell."""


@dataclass(frozen=True)
class Kill:
    """One SIGKILL. aimed: the stage that the moment was drawn over. stage: where it met the command."""

    aimed: str
    stage: str
    seconds_into_stage: float


@dataclass(frozen=True)
class Outcome:
    """All kills, in what the two folders differ at the end, and the length of the undisturbed run in seconds."""

    kills: Sequence[Kill]
    differences: Sequence[str]
    undisturbed_seconds: float
    left_in_temporary_folder: int

    def counts(self) -> dict[str, int]:
        """Return how many kills met each stage."""
        counted = Counter(kill.stage for kill in self.kills)
        return {stage: counted[stage] for stage in KILLS_OF_STAGE}


@click.command()
@click.option("--kills", "num_kills", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the moments.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(num_kills: int, seed: int, json_path: Path | None) -> None:
    """Kill a suite at random moments, finish it, and compare it with an undisturbed one."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_suite(Path(folder), num_kills, seed, say=lambda line: click.echo(line, err=True))
    click.echo("| stage | kills |\n|---|---|")
    for stage, number in outcome.counts().items():
        click.echo(f"| {stage} | {number} |")
    click.echo(f"\n{len(outcome.kills)} kills of a suite that takes {outcome.undisturbed_seconds:.0f} s undisturbed.")
    click.echo(f"Entries left in the system's temporary folder: {outcome.left_in_temporary_folder}.")
    if json_path is not None:
        json_path.write_text(json.dumps({**asdict(outcome), "counts": outcome.counts()}, indent=2) + "\n")
    for difference in outcome.differences:
        click.echo(f"DIFFERENT: {difference}")
    if outcome.differences:
        sys.exit(1)
    click.echo(
        "The table, all curves, pictures, weights and files are those of the undisturbed run; nothing is left over."
    )


def kill_suite(folder: Path, num_kills: int, seed: int, say: Callable[[str], object] = str) -> Outcome:
    """Run the suite undisturbed and killed, in two folders of `folder`."""
    undisturbed, killed = (Suite(folder / name) for name in ("undisturbed", "killed"))
    began = time.monotonic()
    undisturbed.begin().wait()
    undisturbed.require_success()
    seconds = time.monotonic() - began
    lengths = undisturbed.lengths()
    say(f"undisturbed: {seconds:.0f} s; " + ", ".join(f"{p[0]} {length:.1f}" for p, length in lengths.items()))

    random = np.random.default_rng(seed)
    kills: list[Kill] = []
    aims = planned(num_kills)
    while len(kills) < num_kills:
        number = len(kills)
        aim = killed.first_undone(aims[number])
        share = 1.0 if aim not in aims[number + 1 :] else EARLY
        stage = killed.kill_at(aim, lambda length, share=share: float(random.uniform(0, share * length)), lengths)  # type: ignore[misc]
        if stage is None:  # it was done before the moment came: draw another
            say(f"{number}: aimed at {aim[0]}, but it was done before")
            continue
        kills.append(Kill(aim[0], *stage))
        say(f"{number + 1}: aimed at {aim[0]} of cell {aim[1]}, met {stage[0]} after {stage[1]:.2f} s")
    killed.begin().wait()
    killed.require_success()
    left = len(list(killed.temporary.iterdir()))
    return Outcome(kills, list(differences(undisturbed.folder, killed.folder)), seconds, left)


def planned(num_kills: int) -> list[Place]:
    """Return the places to aim at, in their order; of each stage the share of KILLS_OF_STAGE (largest remainders)."""
    total = sum(KILLS_OF_STAGE.values())
    exact = {stage: num_kills * share / total for stage, share in KILLS_OF_STAGE.items()}
    counts = {stage: int(each) for stage, each in exact.items()}
    for stage in sorted(exact, key=lambda stage: counts[stage] - exact[stage])[: num_kills - sum(counts.values())]:
        counts[stage] += 1
    aims: list[Place] = []
    for stage, count in counts.items():
        cells = NUM_CELLS if stage in OF_CELLS else 1
        aims += [(stage, number % cells) for number in range(count)]
    return sorted(aims, key=PLACES.index)


class Suite:
    """The command in a folder of its own, started as often as it takes."""

    def __init__(self, parent: Path) -> None:
        self.folder, self.logs, self.temporary = parent / "suite", parent / "logs", parent / "temporary"
        for each in (self.folder, self.logs, self.temporary):
            each.mkdir(parents=True)
        (self.folder / "tiny.yaml").write_text(SUITE)
        self.marks = parent / "marks"
        self.running: Running | None = None
        self.done: set[Place] = set()

    def begin(self) -> Running:
        """Start the command in a process group of its own."""
        self.marks.write_text("")
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        environment = kept | {"TMPDIR": str(self.temporary)}
        self.running = start(run_marked, self.marks, cwd=self.folder, logs=self.logs, environment=environment)
        return self.running

    def require_success(self) -> None:
        """Raise RuntimeError where the command failed."""
        if self.running is not None and self.running.returncode != 0:
            raise RuntimeError(f"exit status {self.running.returncode}:\n{self.running.errors.read_text()}")

    def first_undone(self, aim: Place) -> Place:
        """Return a place, or the next one that was not passed yet; the report is made by every start."""
        return next(place for place in PLACES[PLACES.index(aim) :] if place not in self.done or place[0] == "report")

    def kill_at(
        self, aim: Place, draw: Callable[[float], float], lengths: Mapping[Place, float]
    ) -> tuple[str, float] | None:
        """Start the command, wait for a place, or one after it where that is done already, and kill after a while.

        Return the stage that was met and how long it had gone on; None where the command ended before. draw: from the
        length of a stage to the moment in it.
        """
        running = self.begin()
        due: float | None = None
        while running.returncode is None and (due is None or time.monotonic() < due):
            reached = [(place, at) for place, at in self._begun() if PLACES.index(place) >= PLACES.index(aim)]
            if due is None and reached:
                place, at = reached[0]
                due = at + draw(lengths.get(place, 0.0))
            time.sleep(0.002)
        if running.returncode is not None:
            self.require_success()
            self.done |= set(PLACES)
            return None
        os.killpg(running.pid, signal.SIGKILL)
        moment = time.monotonic()
        running.wait()
        self.done |= {place for place, _ in self._begun()[:-1]}
        if "Traceback" in (errors := running.errors.read_text()):
            raise RuntimeError(errors)
        return self._met(moment)

    def lengths(self) -> dict[Place, float]:
        """Return how long each place took: until the next one began, or the end."""
        begun = self._begun()
        ends = [at for _, at in begun[1:]] + [self._marks()[-1][2]]
        return {place: end - at for (place, at), end in zip(begun, ends, strict=True)}

    def _met(self, moment: float) -> tuple[str, float]:
        place, at = self._begun()[-1]
        return place[0], moment - at

    def _begun(self) -> list[tuple[Place, float]]:
        """Return the places that the running command has reached so far, and when."""
        cell, places = -1, []
        for stage, event, at in self._marks():
            if event == "begin":
                cell += stage == "train"
                places.append(((stage, cell if stage in OF_CELLS else 0), at))
        return places

    def _marks(self) -> list[tuple[str, str, float]]:
        """Return stage, begin or end, and when."""
        lines = [line.split() for line in self.marks.read_text().split("\n")[:-1]]
        return [(stage, event, float(at)) for stage, event, at in lines]


def run_marked(marks: Path) -> None:
    """Run the command in this process, the leader of a new group; note when its stages begin and end."""
    os.setsid()
    tempfile.tempdir = None  # as in a new process: TMPDIR says which
    import pipeline.cells
    import pipeline.run
    import pipeline.train
    from pipeline.cli import main as run_command

    file = os.open(marks, os.O_WRONLY | os.O_APPEND)

    def mark(stage: str, event: str) -> None:
        os.write(file, f"{stage} {event} {time.monotonic()}\n".encode())

    def marked(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            mark(stage, "begin")
            result = function(*arguments, **options)
            mark(stage, "end")
            return result

        return run

    stages = {"floor": "evaluate_real", "train": "train", "sample": "sample", "evaluate": "evaluate"}
    for stage, name in stages.items():
        setattr(pipeline.cells, name, marked(stage, getattr(pipeline.cells, name)))
    for name in ("prepare", "report"):
        setattr(pipeline.run, name, marked(name, getattr(pipeline.run, name)))
    pipeline.train.publish = marked("publish", pipeline.train.publish)  # type: ignore[attr-defined]
    mark("store", "begin")
    sys.argv = ["pipeline", *COMMAND]
    try:
        run_command()
    finally:
        mark("end", "end")


if __name__ == "__main__":
    main()
