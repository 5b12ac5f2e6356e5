"""How long so many cells take on so many GPUs, what that costs, and what is the first to be too slow.

    python benchmarks/sizing.py load.json --cell-seconds 300 --evaluation-seconds 60 --price-per-hour 2

load.json is what tracking_load.py measured: what each part of a cell's life costs the tracking server. The seconds of a
cell are yours to say, or those of train_step.py (--train-step). All else is arithmetic, which the functions' docstrings
say.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd

from gan.training import NUM_POINTS
from pipeline.config import load_experiment
from pipeline.tracking.handover import BEAT_SECONDS
from pipeline.tracking.outbox import FLUSH_SECONDS

BUSY = 0.7  # share of what a server could do, above which one waits for it
NUM_IMAGES = 51_223  # of the reports
COUNTED = ("requests", "sent", "received", "server_seconds", "database_seconds")


@dataclass(frozen=True)
class Cost:
    """What something costs the tracking server: requests, bytes up and down, seconds of its processors."""

    requests: float = 0.0
    sent: float = 0.0
    received: float = 0.0
    server_seconds: float = 0.0
    database_seconds: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, name) + getattr(other, name) for name in COUNTED))

    def __mul__(self, factor: float) -> "Cost":
        return Cost(*(getattr(self, name) * factor for name in COUNTED))

    @property
    def processor_seconds(self) -> float:
        """Seconds of the server and its database together."""
        return self.server_seconds + self.database_seconds


@dataclass(frozen=True)
class Pace:
    """How long a cell takes. share_every: seconds between checkpoints in the store; 0: never."""

    train_seconds: float
    evaluate_seconds: float
    share_every: float

    @property
    def seconds(self) -> float:
        """Of the whole cell."""
        return self.train_seconds + self.evaluate_seconds

    @property
    def flushes(self) -> float:
        """Requests with points of curves: one every FLUSH_SECONDS, but none without a point."""
        return min(self.train_seconds / FLUSH_SECONDS, NUM_POINTS)

    @property
    def checkpoints(self) -> int:
        """Checkpoints that go to the store before the training ends."""
        return max(0, math.ceil(self.train_seconds / self.share_every) - 1) if self.share_every else 0

    @property
    def signs_of_life(self) -> float:
        """From the process that trains."""
        return self.train_seconds / BEAT_SECONDS


@dataclass(frozen=True)
class Place:
    """What cells run on. cores: of the tracking server and its database. bandwidth: of it, bytes a second.

    report_seconds: of a report, for each run.
    """

    gpus: int
    cells_per_gpu: int
    cores: float
    bandwidth: float
    report_seconds: float


@dataclass(frozen=True)
class Size:
    """How long cells take there. utilisation: what share of the server's processors and of its network is in use."""

    cells: int
    gpus: int
    hours: float
    report_hours: float
    requests_per_second: float
    processors: float
    network: float
    kept_bytes: float
    bottleneck: str

    @property
    def gpu_hours(self) -> float:
        """Hours that are paid for: all GPUs, until the last cell is done."""
        return self.gpus * self.hours


def cost_of(parts: Mapping[str, Cost], measured: Pace, pace: Pace) -> Cost:
    """Return what a cell of another pace costs than the one whose parts were measured.

    What does not depend on time is as it was measured. A further request with points costs what a small request does,
    half a sign of life: the points themselves are as many as before.
    """
    small = parts["signs of life"] * 0.5
    fixed = ("begin", "curves", "grids", "publish", "sample and evaluate")
    total = sum((parts[name] for name in fixed), Cost())
    total += small * (pace.flushes - measured.flushes)
    total += parts["signs of life"] * pace.signs_of_life
    if measured.checkpoints:
        total += parts["checkpoints"] * (pace.checkpoints / measured.checkpoints)
    return total


def kept_bytes(parts: Mapping[str, Cost]) -> float:
    """Return what a finished cell keeps in the store; its checkpoints are removed."""
    return sum(part.sent for name, part in parts.items() if name != "checkpoints")


def size_of(cells: int, cost: Cost, kept: float, pace: Pace, place: Place) -> Size:
    """Return how long so many cells take.

    GPUs work in rounds: ceil(cells / places) times the seconds of a cell. The server needs cells * its seconds / its
    cores, the network cells * bytes / its bandwidth, side by side with the GPUs: the longest of the three counts. The
    report comes afterwards.
    """
    at_once = min(cells, place.gpus * place.cells_per_gpu)
    seconds = {
        "GPUs": math.ceil(cells / at_once) * pace.seconds,
        "server": cells * cost.processor_seconds / place.cores,
        "network": cells * (cost.sent + cost.received) / place.bandwidth,
    }
    longest = max(seconds, key=lambda name: seconds[name])
    report = cells * place.report_seconds
    return Size(
        cells,
        place.gpus,
        hours=seconds[longest] / 3600,
        report_hours=report / 3600,
        requests_per_second=cells * cost.requests / seconds[longest],
        processors=seconds["server"] / seconds[longest],
        network=seconds["network"] / seconds[longest],
        kept_bytes=cells * kept,
        bottleneck=longest if report <= seconds[longest] else "report",
    )


def most_gpus(cost: Cost, pace: Pace, place: Place) -> dict[str, float]:
    """Return how many GPUs one server carries, by what limits it: at BUSY of its processors or of its network."""
    of_a_gpu = place.cells_per_gpu / pace.seconds  # cells a second
    return {
        "server": BUSY * place.cores / (of_a_gpu * cost.processor_seconds),
        "network": BUSY * place.bandwidth / (of_a_gpu * (cost.sent + cost.received)),
    }


def read_load(content: Mapping[str, Any]) -> tuple[dict[str, Cost], Pace]:
    """Return the parts that tracking_load.py measured, and the pace it did that for."""
    parts = {part["part"]: Cost(*(part[name] for name in COUNTED)) for part in content["parts"]}
    return parts, Pace(**content["pace"])


def train_seconds_of(rows: Sequence[Mapping[str, Any]], variant: str, num_steps: int) -> float:
    """Return the seconds of a training at the fastest speed that train_step.py measured of the engine."""
    found = [row["milliseconds"] for row in rows if row["variant"] == variant and row["mode"].startswith("ours")]
    if not found:
        raise click.BadParameter(f"has no speed of '{variant}': run train_step.py --variants {variant}.")
    return float(min(found)) / 1000 * num_steps


def numbers(text: str) -> list[int]:
    """Return numbers that are separated by commas."""
    return [int(each) for each in text.split(",")]


@click.command()
@click.argument("load", type=click.Path(exists=True, path_type=Path))
@click.option("--cell-seconds", type=click.FloatRange(min=1), help="Of a training, on one GPU.")
@click.option("--train-step", type=click.Path(exists=True, path_type=Path), help="Instead: the JSON of train_step.py.")
@click.option("--evaluation-seconds", type=click.FloatRange(min=0), default=60.0, show_default=True)
@click.option("--share-every", type=click.FloatRange(min=0), default=600.0, show_default=True)
@click.option("--cells", default="100,1000,10000", show_default=True)
@click.option("--gpus", default="1,8,64", show_default=True)
@click.option("--cells-per-gpu", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--cores", type=click.FloatRange(min=0.1), default=4.0, show_default=True, help="Of the tracking server.")
@click.option("--bandwidth", type=click.FloatRange(min=0.1), default=125.0, show_default=True, help="MB a second.")
@click.option("--report-seconds", type=click.FloatRange(min=0), default=0.0, show_default=True, help="For each run.")
@click.option("--price-per-hour", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Of a GPU.")
def main(
    load: Path, cell_seconds: float | None, train_step: Path | None, evaluation_seconds: float, share_every: float,
    cells: str, gpus: str, cells_per_gpu: int, cores: float, bandwidth: float, report_seconds: float,
    price_per_hour: float,
) -> None:  # fmt: skip
    """Print hours, GPU-hours, price, load and bottleneck of suites of some sizes."""
    content = json.loads(load.read_text())
    parts, measured = read_load(content)
    if (cell_seconds is None) == (train_step is None):
        raise click.UsageError("Give one of --cell-seconds and --train-step.")
    if train_step is not None:
        num_steps = load_experiment(content["variant"]).num_steps(NUM_IMAGES)
        cell_seconds = train_seconds_of(json.loads(train_step.read_text()), content["variant"], num_steps)
    pace = Pace(float(cell_seconds or 0), evaluation_seconds, share_every)
    cost, kept = cost_of(parts, measured, pace), kept_bytes(parts)
    places = [Place(each, cells_per_gpu, cores, 1e6 * bandwidth, report_seconds) for each in numbers(gpus)]
    sizes = [size_of(count, cost, kept, pace, place) for count in numbers(cells) for place in places]

    limits = most_gpus(cost, pace, places[0])
    print(
        f"A cell: {pace.seconds:,.0f} s, {cost.requests:,.0f} requests, {cost.sent / 1e6:,.0f} MB up and "
        f"{cost.received / 1e6:,.0f} MB down, {cost.processor_seconds:.1f} s of the server's processors; "
        f"{3600 / pace.seconds * cells_per_gpu:,.1f} cells an hour on a GPU.\n"
        f"One server of {cores:g} cores and {bandwidth:g} MB/s, {BUSY:.0%} busy, carries "
        f"{limits['server']:,.0f} GPUs by its processors and {limits['network']:,.0f} by its network.\n"
    )
    print(pd.DataFrame([row_of(size, price_per_hour) for size in sizes]).to_markdown(index=False))


def row_of(size: Size, price_per_hour: float) -> dict[str, Any]:
    """Return a row of the table."""
    row: dict[str, Any] = {
        "cells": f"{size.cells:,}", "GPUs": size.gpus, "hours": f"{size.hours:,.1f}",
        "GPU-hours": f"{size.gpu_hours:,.0f}",
    }  # fmt: skip
    if price_per_hour:
        row["price"] = f"{size.gpu_hours * price_per_hour:,.0f}"
    return row | {
        "artifacts": f"{size.kept_bytes / 1e9:,.0f} GB", "requests/s": f"{size.requests_per_second:,.1f}",
        "server busy": f"{size.processors:.0%}", "network busy": f"{size.network:.0%}",
        "report": f"{60 * size.report_hours:,.0f} min", "bottleneck": size.bottleneck,
    }  # fmt: skip


if __name__ == "__main__":
    main()
