"""How long a report on many runs takes, against the loop over MLflow's client that one would write.

    python benchmarks/report.py --runs 200 --points 500

Makes a SQLite store of runs such as the train and evaluate stages leave, 5 seeds a configuration, then times
`pipeline report`, from start to exit, and the loop: it reads the same curves, and writes one table and one figure.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import click
import numpy as np
from PIL import Image

SEEDS = 5
DENSE = ("train/loss_discriminator", "train/loss_generator", "health/saturation", "health/generator_gradient")
OTHERS = tuple(f"gradient_norm/generator/{number}_conv" for number in range(12))
LOOP = """
import collections, matplotlib, mlflow, pandas
matplotlib.use("Agg")
import matplotlib.pyplot as plt
client = mlflow.MlflowClient()
runs = client.search_runs(["1"], "tags.stage = 'train'", max_results=1000)
table = pandas.DataFrame([{"variant": r.data.tags["variant"], "fd": r.data.metrics["final/fd_lite"]} for r in runs])
print(table.groupby("variant").agg(["mean", "std"]).to_markdown())
for key in KEYS:
    figure, axes = plt.subplots()
    for run in runs:
        points = client.get_metric_history(run.info.run_id, key)
        axes.plot([p.step for p in points], [p.value for p in points])
    figure.savefig(key.replace("/", "-") + ".png")
"""


@click.command()
@click.option("--runs", "num_runs", type=click.IntRange(min=SEEDS), default=200, show_default=True)
@click.option("--points", "num_points", type=click.IntRange(min=2), default=500, show_default=True, help="Of a curve.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--loop/--no-loop", default=True, show_default=True, help="Time the loop too.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(num_runs: int, num_points: int, rounds: int, loop: bool, json_path: Path | None) -> None:
    """Time the report, and the loop, interleaved."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
        os.environ["MLFLOW_TRACKING_URI"] = environment["MLFLOW_TRACKING_URI"]
        make_store(folder, num_runs, num_points)
        commands = {"ours": [sys.executable, "-m", "pipeline", "report", "--out", str(folder / "reports")]}
        if loop:
            keys = repr([*DENSE, "time/seconds", "curve/fd_lite", "curve/kd_lite"])
            commands["loop"] = [sys.executable, "-c", LOOP.replace("KEYS", keys)]
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - started)
        result = {
            "num_runs": num_runs, "num_points": num_points, "cores": len(os.sched_getaffinity(0)), "seconds": seconds,
        }  # fmt: skip
    for name, values in seconds.items():
        click.echo(f"{name}: median {statistics.median(values):.1f} s, best {min(values):.1f} s of {rounds}")
    if loop:
        ratio = statistics.median(seconds["loop"]) / statistics.median(seconds["ours"])
        click.echo(f"ratio: {ratio:.1f}")
    if json_path is not None:
        json_path.write_text(json.dumps(result, indent=2))


def make_store(folder: Path, num_runs: int, num_points: int) -> None:
    """Make runs by MLflow's client, and write their points and artifacts past it: a thousand times as fast."""
    from mlflow.entities import Metric
    from mlflow.store.tracking.dbmodels.models import SqlMetric
    from sqlalchemy import insert

    from pipeline.identity import config_hash_of
    from pipeline.tracking import CONFIG, EVALUATION, INTERPOLATION_FILE, SAMPLES_FILE, Stage, connect

    store = connect()
    protocol = {"dataset": "faces", "dataset_digest": "d", "num_samples": 1000, "num_reference": 1000}
    protocol |= {"extractor": "Lite0", "feature_space": "lite"}
    samples, paths = picture(folder / "samples.png", 8, 8), picture(folder / "interpolation.png", 10, 8)
    random = np.random.default_rng(0)
    steps = np.unique(np.linspace(1, 1000 * num_points, num_points).round())
    rare = [*steps[:: max(1, num_points // 20)].tolist(), float(steps[-1])]
    for number in range(num_runs):
        row, seed = divmod(number, SEEDS)
        config = {"variant": f"variant_{row}", "title": "t", "lr": row}
        values = {"fd_lite": 50.0 + row + random.normal(), "kd_lite": 0.01, "precision_lite": 0.5, "recall_lite": 0.4}
        content = {
            "checkpoint": "last", "step": 1, "num_measured": 1000, "metrics": values, "sampling_spread": {},
            "estimator_error": {}, "flags": [],
        }  # fmt: skip
        tags = {
            "project": "gan-benchmark", "stage": Stage.TRAIN, "variant": config["variant"], "seed": str(seed),
            "code_hash": "c", "config_hash": config_hash_of(config, "d", "c"), CONFIG: json.dumps(config),
            "dataset": "faces", "dataset_digest": "d", "selection": "s", "device": "cpu", "health": "",
            "fingerprint": f"{row}-{seed}", "mlflow.runName": f"{config['variant']}-s{seed}",
            f"{EVALUATION}lite.aaaa.last": json.dumps(
                {"protocol_hash": "aaaa", "protocol": protocol, "result": content}
            ),
        }  # fmt: skip
        run = store.client.create_run(store.experiment_id, tags=tags)
        run_id = run.info.run_id
        store.writer(run_id).log_values({f"final/{name}": value for name, value in values.items()})
        costs = ("cost/generator_updates", "cost/discriminator_updates", "cost/total_images", "time/train_seconds")
        store.writer(run_id).log_values(dict.fromkeys(costs, float(steps[-1])))
        rare_keys = ("curve/fd_lite", "curve/kd_lite", "health/diversity")
        store.writer(run_id).log_points(
            [Metric(key, 100 / (1 + step), 1, int(step)) for key in rare_keys for step in sorted({0.0, *rare})]
        )
        lines = [
            {"key": key, "value": value, "timestamp": 1, "step": int(step), "is_nan": False, "run_uuid": run_id}
            for key in (*DENSE, *OTHERS, "time/seconds")
            for step, value in zip(
                steps, steps / 10 if key == "time/seconds" else random.random(len(steps)), strict=True
            )
        ]
        with store.client._tracking_client.store.engine.begin() as connection:
            connection.execute(insert(SqlMetric), lines)
        artifacts = Path(str(run.info.artifact_uri).removeprefix("file://"))
        (artifacts / "images").mkdir(parents=True)
        series = [f"images/samples~fixed_z+step+{step}+timestamp+1+{uuid.uuid4()}.png" for step in range(20)]
        for name in (SAMPLES_FILE, *series):
            shutil.copy(samples, artifacts / name)
        shutil.copy(paths, artifacts / INTERPOLATION_FILE)
        store.client.set_terminated(run_id)


def picture(path: Path, columns: int, rows: int) -> Path:
    """Write a grid such as the train stage's: images of 64 pixels with white gaps of 2."""
    array = np.full((66 * rows + 2, 66 * columns + 2, 3), 255, dtype=np.uint8)
    for y in range(rows):
        for x in range(columns):
            image = np.random.default_rng(x).integers(0, 256, (64, 64, 3))
            array[66 * y + 2 : 66 * y + 66, 66 * x + 2 : 66 * x + 66] = image
    Image.fromarray(array).save(path)
    return path


if __name__ == "__main__":
    main()
