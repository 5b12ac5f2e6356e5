"""What cells do to a tracking server, and how many of them one server carries.

    python benchmarks/tracking_load.py --json load.json

Starts PostgreSQL and `mlflow server` with proxied artifacts on loopback (or uses the server of --uri). First some cells
live one after the other without waiting, which shows what each part of a life costs: requests, bytes, seconds of the
processor. Then so many cells at once live in their own time, each in a process of its own, in the middle of their
training at the start: latency of each kind of request, and who is busy. Only the computing is simulated, see
simulated_cell.py.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch
from cell_materials import Materials, Pace, make_materials
from cells_at_once import Level, at_once, processor_seconds
from requests_seen import SIGNS, Recorder, Request
from simulated_cell import PARTS, HurriedTraining, live, simulated_cell, without_computing

from pipeline.tracking import connect

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.servers import mlflow_server, postgres

NUM_IMAGES = 51_223
POOL_SIZE = 5  # connections that a worker keeps, SQLAlchemy's default
GIVEN = 0  # workers of a server that somebody else started


@dataclass(frozen=True)
class Part:
    """What a part of a cell's life costs, on average. Seconds: of the processor."""

    part: str
    requests: float
    sent: float
    received: float
    seconds: float
    server_seconds: float
    database_seconds: float
    client_seconds: float


@click.command()
@click.option("--uri", help="Of a server that runs already; its runs are then seen by all who use it.")
@click.option("--workers", default="1,2,4", show_default=True, help="Of the server, one after the other.")
@click.option("--cells", default="1,4,16,64", show_default=True, help="At once, one after the other.")
@click.option(
    "--connections", type=click.IntRange(min=5), default=90, show_default=True,
    help="To the database, of all workers together at most: PostgreSQL allows 100.",
)  # fmt: skip
@click.option("--durable/--no-durable", default=True, show_default=True, help="Let PostgreSQL wait for its disk.")
@click.option("--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="Of each of these.")
@click.option("--lives", type=click.IntRange(min=0), default=5, show_default=True, help="One after the other.")
@click.option("--variant", default="dcgan", show_default=True)
@click.option("--every-epochs", default=5.0, show_default=True, help="Measurements during training.")
@click.option("--train-seconds", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Of a cell.")
@click.option("--evaluate-seconds", type=click.FloatRange(min=0), default=60.0, show_default=True)
@click.option(
    "--share-every", type=click.FloatRange(min=0), default=120.0, show_default=True,
    help="Seconds between checkpoints of a cell in the store; 0: never.",
)  # fmt: skip
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    uri: str | None, workers: str, cells: str, connections: int, durable: bool, seconds: float, lives: int,
    variant: str, every_epochs: float, train_seconds: float, evaluate_seconds: float, share_every: float,
    json_path: Path | None,
) -> None:  # fmt: skip
    """Measure what cells cost a tracking server, and its latency under many of them."""
    torch.set_num_threads(1)
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    pace = Pace(train_seconds, evaluate_seconds, share_every)
    result: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)), "connections": connections, "durable": durable, "variant": variant,
        "pace": asdict(pace), "parts": [], "levels": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        materials = make_materials(Path(name, "materials"), variant, NUM_IMAGES, every_epochs)
        for number in [GIVEN] if uri else [int(each) for each in workers.split(",")]:
            folder = Path(name, f"workers-{number}")
            with server(folder, number, connections, durable, uri):
                if lives and not result["parts"]:
                    parts = one_by_one(materials, pace, lives, folder / "lives")
                    result["parts"] = [asdict(part) for part in parts]
                    print_parts(parts)
                for count in [int(each) for each in cells.split(",")]:
                    level = at_once(materials, pace, count, seconds, number, folder / f"cells-{count}")
                    result["levels"].append(asdict(level) | {"is_saturated": level.is_saturated})
                    print_level(level)
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=2) + "\n")


@contextmanager
def server(folder: Path, workers: int, connections: int, durable: bool, uri: str | None) -> Iterator[None]:
    """Let MLFLOW_TRACKING_URI name a server: the given one, or a new one with so many workers and its own database."""
    with ExitStack() as stack:
        if uri is None:
            pool = {"MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": str(max(0, connections // workers - POOL_SIZE))}
            database = stack.enter_context(postgres(folder / "postgres", durable=durable))
            made = mlflow_server(database, folder / "server", workers=workers, variables=pool)
            uri = stack.enter_context(made).uri
        os.environ["MLFLOW_TRACKING_URI"] = uri
        yield


def one_by_one(materials: Materials, pace: Pace, lives: int, folder: Path) -> list[Part]:
    """Return what each part of a life costs. The first life does not count: it warms server and database up."""
    clocks: dict[str, list[tuple[float, Mapping[str, float]]]] = {}
    recorder = Recorder()
    before = (time.monotonic(), processor_seconds())

    def changed() -> None:
        nonlocal before
        now = (time.monotonic(), processor_seconds())
        spent = {who: now[1][who] - before[1][who] for who in now[1]}
        clocks.setdefault(recorder.part, []).append((now[0] - before[0], spent))
        before = now

    recorder.changed = changed
    recorder.install()
    training = HurriedTraining(materials, pace, recorder, wait=lambda _second: None)
    with without_computing(materials, training):
        for seed in range(lives + 1):
            if seed == 1:
                recorder.requests.clear()
                clocks.clear()
            recorder.begin("begin")
            live(simulated_cell(materials, seed), connect(), folder / f"life-{seed}")
            recorder.begin("")
    return [part_of(name, recorder.requests, clocks[name], lives) for name in PARTS]


def part_of(
    name: str, requests: Sequence[Request], clocks: Sequence[tuple[float, Mapping[str, float]]], lives: int
) -> Part:
    """Return the averages of one part; a sign of life counts once, however many there were."""
    mine = [request for request in requests if request.part == name]
    divisor = len(mine) / 2 if name == SIGNS else lives  # a sign is to read the run and to write a tag
    seconds = {who: sum(spent[who] for _, spent in clocks) / divisor for who in clocks[0][1]}
    return Part(
        name, len(mine) / divisor, sum(request.sent for request in mine) / divisor,
        sum(request.received for request in mine) / divisor, sum(took for took, _ in clocks) / divisor,
        seconds["server"], seconds["database"], seconds["clients"],
    )  # fmt: skip


def print_parts(parts: Sequence[Part]) -> None:
    """Print a table of the parts."""
    table = pd.DataFrame(
        {
            "part": part.part, "requests": round(part.requests, 1), "MB up": round(part.sent / 1e6, 2),
            "MB down": round(part.received / 1e6, 2), "seconds": round(part.seconds, 2),
            "server ms": round(1e3 * part.server_seconds), "database ms": round(1e3 * part.database_seconds),
            "client ms": round(1e3 * part.client_seconds),
        }
        for part in parts
    )  # fmt: skip
    print(table.to_markdown(index=False), flush=True)


def print_level(level: Level) -> None:
    """Print what was seen of some cells at once."""
    busy = ", ".join(f"{who} {share:.2f}" for who, share in level.processors.items())
    print(
        f"\n{level.workers} workers, {level.cells} cells: {level.requests_per_second:.1f} requests/s, "
        f"{level.megabytes_per_second:.1f} MB/s, {level.failed} failed, {level.failed_cells} failed cells, "
        f"{level.late:.0%} of flushes late{', SATURATED' if level.is_saturated else ''}; "
        f"all had begun after {level.begin_seconds:.0f} s; processors: {busy}; disk {level.disk:.0%}"
    )
    rows = [
        {"kind": kind, **{key: round(value) for key, value in each.items()}} for kind, each in level.latencies.items()
    ]
    print(pd.DataFrame(rows).to_markdown(index=False), flush=True)


if __name__ == "__main__":
    main()
