"""The clock set back while a training is stopped: the same curves, no negative durations, runs in a sane order.

The clock is libfaketime's where it is installed (Debian's package faketime); elsewhere time.time is replaced in the
process, which is all that this project reads of the wall clock, with MLflow's own reading.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import environment, run_pipeline

STEPS = 8
TRAIN = ["train", "--variant", "wgan", "--data", "tiny", "--set", "batch_size=4", "--set", f"max_steps={STEPS}"]
BACK = -2 * 24 * 3600  # seconds
SITE = "import os, time\n_now, _back = time.time, float(os.environ['CLOCK_BACK'])\ntime.time = lambda: _now() + _back\n"


def two_days_ago(*arguments: str, folder: Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run the command line with a clock that is two days behind."""
    variables = environment()
    if (faketime := shutil.which("faketime")) is not None:
        variables |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        prefix = [faketime, "-f", f"{BACK}s"]
    else:
        (folder / "site").mkdir(exist_ok=True)
        (folder / "site" / "sitecustomize.py").write_text(SITE)
        path = os.pathsep.join([str(folder / "site"), variables.get("PYTHONPATH", "")])
        variables |= {"PYTHONPATH": path, "CLOCK_BACK": str(BACK)}
        prefix = []
    return subprocess.run(
        [*prefix, sys.executable, "-m", "pipeline", *arguments],
        cwd=folder, env=variables, capture_output=True, text=True, check=check,
    )  # fmt: skip


def training(folder: Path) -> tuple[MlflowClient, Run]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], "tags.stage = 'train'")
    return client, run


def points(folder: Path, key: str) -> list[tuple[int, float]]:
    """Return a curve by steps; the store gives its points by their times."""
    client, run = training(folder)
    return sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, key))


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    keys = [key for key in training(folder)[1].data.metrics if not key.startswith("time/")]
    return {key: points(folder, key) for key in keys}


@pytest.mark.slow
def test_a_training_goes_on_after_the_clock_was_set_back(tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    undisturbed.mkdir()
    disturbed.mkdir()
    run_pipeline("prepare", "--num-images", "24", "--name", "tiny", cwd=undisturbed)
    (disturbed / "data").symlink_to(undisturbed / "data")
    run_pipeline(*TRAIN, cwd=undisturbed)

    stopped = run_pipeline(*TRAIN, "--max-seconds", "0.5", cwd=disturbed, check=False)
    assert stopped.returncode == 130
    began = time.time()
    assert "finished" in two_days_ago(*TRAIN, folder=disturbed).stdout
    client, run = training(disturbed)
    times = [point.timestamp / 1000 for point in client.get_metric_history(run.info.run_id, "train/epoch")]
    assert min(times) < began + BACK + 3600 < began - 3600 < max(times)  # the clock was indeed set back
    assert run.info.status == "FINISHED"
    assert curves(disturbed) == curves(undisturbed)

    seconds = [value for _, value in points(disturbed, "time/seconds")]
    assert seconds[0] >= 0
    assert seconds == sorted(seconds)
    assert run.data.metrics["time/train_seconds"] > 0
    assert run.info.end_time is not None
    assert run.info.end_time >= run.info.start_time  # the UI shows the difference as the duration


@pytest.mark.slow
def test_a_measurement_after_the_clock_was_set_back_is_the_one_that_counts(tmp_path: Path) -> None:
    run_pipeline("prepare", "--num-images", "24", "--name", "tiny", cwd=tmp_path)
    run_pipeline(*TRAIN, cwd=tmp_path)
    evaluate = ["evaluate", "--variant", "wgan", "--num-samples"]
    run_pipeline(*evaluate, "8", cwd=tmp_path)
    first = training(tmp_path)[1].data.metrics["final/fd_efficientnet_lite0"]
    assert "fd_efficientnet_lite0" in two_days_ago(*evaluate, "6", folder=tmp_path).stdout
    second = training(tmp_path)[1].data.metrics["final/fd_efficientnet_lite0"]
    assert second != first
    two_days_ago("report", folder=tmp_path)
    assert len(list((tmp_path / "reports").glob("table-*.csv"))) == 2  # two protocols
