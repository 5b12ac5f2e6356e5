"""How long a report on many runs takes, against the loop over MLflow's client that one would write.

    python benchmarks/report.py --runs 200 --points 500
    python benchmarks/report.py --runs 1000 --points 200 --no-loop --server

Makes a store of runs such as the train and evaluate stages leave, 5 seeds a configuration, then times, from start to
exit: `pipeline report` where no report was made before (`new`), the same again where nothing is new (`again`), and the
loop, which reads the same curves and writes one table and one figure. The store is SQLite, or with --server a database
of PostgreSQL behind `mlflow server`, all on this machine.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlMetric, SqlRun, SqlTag
from PIL import Image
from sqlalchemy import Connection, create_engine, insert

from pipeline.identity import config_hash_of
from pipeline.tracking import CONFIG, EVALUATION, INTERPOLATION_FILE, SAMPLES_FILE, Stage, connect

SEEDS = 5
WORKERS = 4  # of the server: MLflow's default
DENSE = ("train/loss_discriminator", "train/loss_generator", "health/saturation", "health/generator_gradient")
RARE = ("curve/fd_lite", "curve/kd_lite", "health/diversity")
COSTS = ("cost/generator_updates", "cost/discriminator_updates", "cost/total_images", "time/train_seconds")
OTHERS = tuple(f"gradient_norm/generator/{number}_conv" for number in range(12))
LOOP = """
import sys, matplotlib, mlflow, pandas
matplotlib.use("Agg")
import matplotlib.pyplot as plt
client = mlflow.MlflowClient()
runs = client.search_runs([sys.argv[1]], "tags.stage = 'train'", max_results=1000)
table = pandas.DataFrame([{"variant": r.data.tags["variant"], "fd": r.data.metrics["final/fd_lite"]} for r in runs])
print(table.groupby("variant").agg(["mean", "std"]).to_markdown())
for key in KEYS:
    figure, axes = plt.subplots()
    for run in runs:
        points = client.get_metric_history(run.info.run_id, key)
        axes.plot([p.step for p in points], [p.value for p in points])
    figure.savefig(key.replace("/", "-") + ".png")
"""


@dataclass(frozen=True)
class Place:
    """A store: its address, that of the database behind it, and the folder of its artifacts."""

    uri: str
    database: str
    artifacts: Path


@click.command()
@click.option("--runs", "num_runs", type=click.IntRange(min=SEEDS), default=200, show_default=True)
@click.option("--points", "num_points", type=click.IntRange(min=2), default=500, show_default=True, help="Of a curve.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--server", is_flag=True, help="Through `mlflow server` with PostgreSQL instead of SQLite.")
@click.option("--loop/--no-loop", default=True, show_default=True, help="Time the loop too.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(num_runs: int, num_points: int, rounds: int, server: bool, loop: bool, json_path: Path | None) -> None:
    """Time a new report, the same again, and the loop, interleaved."""
    with tempfile.TemporaryDirectory() as name, served(Path(name)) if server else local(Path(name)) as place:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = place.uri
        experiment_id = make_store(place, folder, num_runs, num_points)
        report = [sys.executable, "-m", "pipeline", "report", "--out", str(folder / "reports")]
        commands = {"new": report, "again": report}
        if loop:
            keys = repr([*DENSE, "time/seconds", "curve/fd_lite", "curve/kd_lite"])
            commands["loop"] = [sys.executable, "-c", LOOP.replace("KEYS", keys), experiment_id]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            forget_reports(experiment_id)
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - started)
        size = (folder / "reports" / "report.html").stat().st_size
    for name, values in seconds.items():
        click.echo(f"{name}: median {statistics.median(values):.1f} s, best {min(values):.1f} s of {rounds}")
    click.echo(f"report.html: {size / 1e6:.1f} MB")
    if loop:
        ratio = statistics.median(seconds["loop"]) / statistics.median(seconds["new"])
        click.echo(f"ratio: {ratio:.1f}")
    if json_path is not None:
        result = {
            "num_runs": num_runs, "num_points": num_points, "server": server, "html_bytes": size,
            "cores": len(os.sched_getaffinity(0)), "seconds": seconds,
        }  # fmt: skip
        json_path.write_text(json.dumps(result, indent=2))


@contextmanager
def local(folder: Path) -> Iterator[Place]:
    """Yield a SQLite store."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    yield Place(uri, uri, folder / "mlruns")


@contextmanager
def served(folder: Path) -> Iterator[Place]:
    """Run a database and a server in front of it."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.servers import mlflow_server, postgres

    with postgres(folder / "postgres") as database, mlflow_server(database, folder / "server", workers=WORKERS) as made:
        yield Place(made.uri, database, made.artifacts)


def make_store(place: Place, folder: Path, num_runs: int, num_points: int) -> str:
    """Make runs past MLflow, a thousand times as fast; return the id of their experiment."""
    store = connect()
    location = str(store.client.get_experiment(store.experiment_id).artifact_location)
    samples, paths = picture(folder / "samples.png", 8, 8), picture(folder / "interpolation.png", 10, 8)
    random = np.random.default_rng(0)
    engine = create_engine(place.database)
    with engine.begin() as connection:
        for number in range(num_runs):
            run_id = random.bytes(16).hex()
            run = {
                "run_uuid": run_id, "name": f"variant_{number // SEEDS}-s{number % SEEDS}", "status": "FINISHED",
                "user_id": "benchmark", "start_time": number, "end_time": number + 1, "lifecycle_stage": "active",
                "artifact_uri": f"{location}/{run_id}/artifacts", "experiment_id": int(store.experiment_id),
            }  # fmt: skip
            connection.execute(insert(SqlRun), run)
            log_training(connection, run_id, number, num_points, random)
            log_pictures(place.artifacts / location.rpartition("/")[2] / run_id / "artifacts", samples, paths)
    engine.dispose()
    return store.experiment_id


def log_training(
    connection: Connection, run_id: str, number: int, num_points: int, random: np.random.Generator
) -> None:
    """Store the tags and the metrics of a training that was evaluated."""
    row, seed = divmod(number, SEEDS)
    measured = {"fd_lite": 50.0 + row + random.normal(), "kd_lite": 0.01, "precision_lite": 0.5, "recall_lite": 0.4}
    tags = [{"run_uuid": run_id, "key": key, "value": value} for key, value in tags_of(row, seed, measured).items()]
    connection.execute(insert(SqlTag), tags)
    points, last = [], []
    for key, (steps, values) in (curves_of(num_points, random) | values_of(num_points, measured)).items():
        common = {"run_uuid": run_id, "key": key, "timestamp": 1, "is_nan": False}
        points += [common | {"step": step, "value": value} for step, value in zip(steps, values, strict=True)]
        last.append(points[-1])
    connection.execute(insert(SqlMetric), points)
    connection.execute(insert(SqlLatestMetric), last)


def tags_of(row: int, seed: int, measured: Mapping[str, float]) -> dict[str, str]:
    """Return the tags of a run."""
    config = {"variant": f"variant_{row}", "title": "t", "lr": row}
    protocol = {
        "dataset": "faces", "dataset_digest": "d", "num_samples": 1000, "num_reference": 1000, "extractor": "Lite0",
        "feature_space": "lite",
    }  # fmt: skip
    result = {
        "checkpoint": "last", "step": 1, "num_measured": 1000, "metrics": dict(measured), "sampling_spread": {},
        "estimator_error": {}, "flags": [],
    }  # fmt: skip
    evaluation = {"protocol_hash": "aaaa", "protocol": protocol, "result": result}
    return {
        "project": "gan-benchmark", "stage": Stage.TRAIN, "variant": f"variant_{row}", "seed": str(seed),
        "code_hash": "c", "config_hash": config_hash_of(config, "d", "c"), CONFIG: json.dumps(config),
        "dataset": "faces", "dataset_digest": "d", "selection": "s", "device": "cpu", "health": "",
        "fingerprint": f"{row}-{seed}", "mlflow.runName": f"variant_{row}-s{seed}",
        f"{EVALUATION}lite.aaaa.last": json.dumps(evaluation),
    }  # fmt: skip


Curves = dict[str, tuple[list[int], list[float]]]
"""Steps and values by metric."""


def curves_of(num_points: int, random: np.random.Generator) -> Curves:
    """Return the curves of a run: the training's own of so many points, and those of measurements of about 20."""
    steps = np.unique(np.linspace(1, 1000 * num_points, num_points).round())
    rare = np.unique([0.0, *steps[:: max(1, num_points // 20)], steps[-1]])
    curves = {key: (steps, random.random(len(steps))) for key in (*DENSE, *OTHERS)}
    curves |= {"time/seconds": (steps, steps / 10)} | dict.fromkeys(RARE, (rare, 100 / (1 + rare)))
    return {key: (steps.astype(int).tolist(), values.tolist()) for key, (steps, values) in curves.items()}


def values_of(num_points: int, measured: Mapping[str, float]) -> Curves:
    """Return the numbers of a run that have no step: what was measured, and what it cost."""
    values = {f"final/{name}": value for name, value in measured.items()} | dict.fromkeys(COSTS, 1000.0 * num_points)
    return {key: ([0], [value]) for key, value in values.items()}


def log_pictures(folder: Path, samples: Path, paths: Path) -> None:
    """Store the grids of a run, all of the same content."""
    (folder / "images").mkdir(parents=True)
    series = [f"images/samples~fixed_z+step+{step}+timestamp+1+{uuid.uuid4()}.png" for step in range(20)]
    for name in (SAMPLES_FILE, *series):
        (folder / name).hardlink_to(samples)
    (folder / INTERPOLATION_FILE).hardlink_to(paths)


def picture(path: Path, columns: int, rows: int) -> Path:
    """Write a grid such as the train stage's: images of 64 pixels with white gaps of 2."""
    array = np.full((66 * rows + 2, 66 * columns + 2, 3), 255, dtype=np.uint8)
    for y in range(rows):
        for x in range(columns):
            image = np.random.default_rng(x).integers(0, 256, (64, 64, 3))
            array[66 * y + 2 : 66 * y + 66, 66 * x + 2 : 66 * x + 66] = image
    Image.fromarray(array).save(path)
    return path


def forget_reports(experiment_id: str) -> None:
    """Delete the runs of reports: the next one is new, and the pages of all runs are to link to it."""
    client = MlflowClient()
    for run in client.search_runs([experiment_id], "tags.stage = 'report'"):
        client.delete_run(run.info.run_id)


if __name__ == "__main__":
    main()
