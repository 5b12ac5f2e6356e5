"""Stopped by a signal or killed: nothing is lost, and the same command goes on."""

import resource
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from pipeline.cli import main
from tests.conftest import environment, run_pipeline
from tests.processes import Running, start_pipeline
from tests.processes import start as start_process

pytestmark = pytest.mark.slow
STEPS = 8
TRAIN = ["train", "--variant", "wgan", "--data", "tiny", "--set", "batch_size=4", "--set", f"max_steps={STEPS}"]


def start(folder: Path, *arguments: str) -> Running:
    """Start a training, or another command, and return it once it has drawn the grid of step 0."""
    logs, variables = folder / "logs", environment()
    running = start_pipeline(*(arguments or TRAIN), cwd=folder, logs=logs, environment=variables)
    deadline = time.monotonic() + 120
    while not list(folder.glob("mlruns/gan-benchmark/*/artifacts/images/*.png")):
        assert running.returncode is None, running.errors.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return running


def train_limited() -> None:
    """Train where no file may grow beyond 20 MB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * 2**20, resource.RLIM_INFINITY))
    sys.argv = ["pipeline", *TRAIN]
    main()


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], list[tuple[int, float]], list[str]]:
    """Return the weights, the loss curve and the grids of the only training in a folder, which is finished."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("gan-benchmark")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id], "tags.stage = 'train'")
    assert run.info.status == "FINISHED"
    path = client.download_artifacts(run.info.run_id, "generator/last.pt")
    history = client.get_metric_history(run.info.run_id, "train/loss_discriminator")
    files = [f.path for f in client.list_artifacts(run.info.run_id, "images") if "fixed_z" in f.path]
    grids = sorted(path.split("+")[2] for path in files if path.endswith(".png"))
    return torch.load(path, weights_only=True)["weights"], [(p.step, p.value) for p in history], grids


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_pipeline("prepare", "--num-images", "20", "--name", "tiny", cwd=folder)
    run_pipeline(*TRAIN, cwd=folder)
    return folder


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_the_same_command_finishes_what_was_stopped(
    number: signal.Signals, status: int, undisturbed: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(undisturbed / "data")
    process = start(tmp_path)
    process.send_signal(number)
    assert process.wait() == status
    errors = process.errors.read_text()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], "tags.stage = 'train'")
    assert run.info.status == "KILLED"
    assert f"of {STEPS}, everything stored (run {run.info.run_id}). The same command goes on from here." in errors
    assert "Traceback" not in errors

    finished = run_pipeline(*TRAIN, cwd=tmp_path)
    assert "finished" in finished.stdout
    weights, points, grids = outcome(tmp_path)
    expected_weights, expected_points, expected_grids = outcome(undisturbed)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected_weights.items())
    assert points == expected_points  # no gap, no duplicate
    assert sorted(set(grids)) == expected_grids


def test_a_second_ctrl_c_stops_at_once(undisturbed: Path, tmp_path: Path) -> None:
    """Python's own handlers would see only one of two signals within a torch call."""
    (tmp_path / "data").symlink_to(undisturbed / "data")
    command = ["train", "--variant", "dcgan", "--data", "tiny", "--set", "batch_size=20", "--set", "max_steps=8"]
    process = start(tmp_path, *command)
    time.sleep(1)  # in the middle of a step, which takes longer than what follows
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait()
    errors = process.errors.read_text()
    assert process.returncode == 130
    assert errors.rstrip().endswith("Stopping after this step; once more stops at once.")
    assert "Traceback" not in errors
    assert not list(tmp_path.glob("checkpoints/*/step-*"))  # it did not wait for the step
    assert "finished" in run_pipeline(*command, cwd=tmp_path).stdout


def test_max_seconds_stops_and_the_same_command_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(undisturbed / "data")
    stopped = run_pipeline(*TRAIN, "--max-seconds", "0.5", cwd=tmp_path, check=False)
    assert stopped.returncode == 130
    assert "--max-seconds 0.5 are over: stopped at step 1 of 8, everything stored" in stopped.stderr
    run_pipeline(*TRAIN, "--max-seconds", "3600", cwd=tmp_path)
    weights, points, _ = outcome(tmp_path)
    expected_weights, expected_points, _ = outcome(undisturbed)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected_weights.items())
    assert points == expected_points


def test_a_second_process_on_the_same_run_is_refused(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(undisturbed / "data")
    first = start(tmp_path)
    second = run_pipeline(*TRAIN, cwd=tmp_path, check=False)
    if first.returncode is None:  # else it was too quick for the second
        assert second.returncode == 1
        assert f"is being trained by another process, {first.pid} on {socket.gethostname()} since 20" in second.stderr
    assert first.wait() == 0


def test_a_full_disk_costs_nothing_that_was_stored(undisturbed: Path, tmp_path: Path) -> None:
    """No file may grow beyond 20 MB, which a checkpoint does; then the limit is gone."""
    (tmp_path / "data").symlink_to(undisturbed / "data")
    full = start_process(train_limited, cwd=tmp_path, logs=tmp_path / "logs", environment=environment())
    assert full.wait() == 1
    assert "cannot be written: File too large" in full.errors.read_text()
    assert "Traceback" not in full.errors.read_text()
    assert not list(tmp_path.glob("checkpoints/*/*.pt"))
    run_pipeline(*TRAIN, cwd=tmp_path)
    weights, points, _ = outcome(tmp_path)
    expected_weights, expected_points, _ = outcome(undisturbed)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected_weights.items())
    assert points == expected_points


def test_ctrl_c_stops_a_suite_and_not_only_its_cell(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(undisturbed / "data")
    (tmp_path / "two.yaml").write_text(
        "title: t\ndataset: {name: tiny, sources: [avatars], num_images: 20}\nseeds: [0]\n"
        "evaluation: {extractors: [efficientnet_lite0], num_samples: 4}\nset: {batch_size: 4, max_steps: 30}\n"
        "cells: [{variant: wgan}, {variant: dcgan}]\n"
    )
    process = start(tmp_path, "run", "two.yaml")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    errors = process.errors.read_text()
    assert "The same command goes on from here." in errors
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], "tags.stage = 'train'")
    assert (run.info.run_name, run.info.status) == ("wgan-s0", "KILLED")


def test_a_killed_evaluation_measures_no_set_of_samples_twice(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(undisturbed / "data")
    command = ["evaluate", "--variant", "wgan", "--num-samples", "8", "--num-seeds", "10"]
    run_pipeline(*TRAIN, cwd=tmp_path)
    process = start_pipeline(*command, cwd=tmp_path, logs=tmp_path / "logs", environment=environment())
    while len(list(tmp_path.glob("cache/features/measured-*/[0-9]*.json"))) < 3:
        assert process.returncode is None, process.errors.read_text()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (folder,) = tmp_path.glob("cache/features/measured-*")
    kept = {path.stem for path in folder.glob("[0-9]*.json")}
    assert 3 <= len(kept) < 10

    again = run_pipeline(*command, cwd=tmp_path)
    assert not [seed for seed in kept if f"seed {seed}:" in again.stderr]
    assert "seed 1009:" in again.stderr
    assert not folder.exists()
    folder.mkdir()  # as a kill between storing and forgetting leaves it
    run_pipeline(*command, cwd=tmp_path)
    assert not folder.exists()
    run_pipeline(*command, cwd=undisturbed)
    assert measured(tmp_path) == measured(undisturbed)


def measured(folder: Path) -> dict[str, float]:
    """Return the numbers of the last generator of the only training in a folder."""
    (run,) = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_runs(["1"], "tags.stage = 'train'")
    found = {name: value for name, value in run.data.metrics.items() if name.startswith("final/")}
    assert "final/fd_efficientnet_lite0" in found
    return found
