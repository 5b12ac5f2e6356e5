"""Killed by SIGKILL again and again, also while a checkpoint is written: the result is that of an undisturbed run."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import Tensor

import gan.training
import pipeline.train
from pipeline.tracking import connect
from pipeline.train import train
from pipeline.workspace import Workspace
from tests.conftest import environment, run_pipeline
from tests.processes import Running, start

STEPS = 16
KILLS = 7  # of each of the three variants


def train_here(variant: str) -> None:
    """Train in this process, with a checkpoint at every step, so that many kills meet one."""
    gan.training.CHECKPOINT_SECONDS = 0.0
    gan.training.NUM_GRIDS = 4
    overrides = ["batch_size=4", f"max_steps={STEPS}", "precision=fp32"]
    store = connect()
    train(variant, store=store, workspace=Workspace(), data="tiny", overrides=overrides, show_progress=False)


def die_before_the_folder(variant: str) -> None:
    """Train, and die between the run, which the tracking store then has, and the folder of its checkpoints."""
    pipeline.train.in_use = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, attr-defined]
    train_here(variant)


def begin(folder: Path, variant: str) -> Running:
    return start(train_here, variant, cwd=folder, logs=folder / "logs", environment=environment())


def kill_when(running: Running, due: Callable[[], bool]) -> bool:
    """Kill a process once something is true; return whether it was still running."""
    while running.returncode is None and not due():
        time.sleep(0.001)
    alive = running.returncode is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    return alive


def after(seconds: float) -> Callable[[], bool]:
    """Return what is true once so many seconds are over."""
    deadline = time.monotonic() + seconds
    return lambda: time.monotonic() > deadline


def is_writing(folder: Path) -> bool:
    """Return whether a checkpoint is half written."""
    return any(folder.glob("checkpoints/*/.step-*"))


def finish(folder: Path, variant: str) -> None:
    running = begin(folder, variant)
    assert running.wait() == 0, running.errors.read_text()


def outcome(folder: Path) -> tuple[Any, dict[str, list[tuple[int, float]]], dict[str, bytes]]:
    """Return the last checkpoint, all curves and all grids of the only training in a folder, which is finished."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (run,) = client.search_runs(["1"], "tags.stage = 'train'")
    assert run.info.status == "FINISHED"
    run_id = run.info.run_id
    newest = max((folder / "checkpoints" / run_id).glob("step-*.pt"))
    state = torch.load(newest, weights_only=True)
    keys = [key for key in run.data.metrics if not key.startswith(("time/", "cost/"))]
    curves = {key: [(p.step, p.value) for p in client.get_metric_history(run_id, key)] for key in keys}
    pictures = [file.path for file in client.list_artifacts(run_id, "images") if file.path.endswith(".png")]
    files = {path: Path(client.download_artifacts(run_id, path, str(folder))).read_bytes() for path in pictures}
    named = {path.partition("+timestamp")[0]: content for path, content in files.items()}
    assert len(named) == len(files)  # one of each series and step
    return state, curves, named


def assert_equal(found: Any, expected: Any, name: str = "state") -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), name
        for key in expected:
            if key != "seconds":
                assert_equal(found[key], expected[key], f"{name}.{key}")
    elif isinstance(expected, Tensor):
        assert torch.equal(found, expected), name
    else:
        assert found == expected, name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    run_pipeline("prepare", "--num-images", "18", "--name", "tiny", cwd=folder)
    return folder / "data"


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["dcgan", "wgan", "wgan_sgd"])
def test_a_training_killed_at_random_moments_is_undisturbed_bit_for_bit(
    variant: str, data: Path, tmp_path: Path
) -> None:
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data").symlink_to(data)
    finish(tmp_path / "undisturbed", variant)

    folder, moments, kills, writing = tmp_path / "killed", np.random.default_rng(list(variant.encode())), 0, 0
    for number in range(KILLS):
        running = begin(folder, variant)
        if number % 2:  # in the middle of a checkpoint
            seen = kill_when(running, lambda: is_writing(folder))
        else:
            seen = kill_when(running, after(moments.uniform(0.5, 4.0)))
        kills += seen
        writing += seen and is_writing(folder)
    assert kills == KILLS, "the training was done before the last kill"
    assert writing >= 2, "no kill met a half-written checkpoint"
    finish(folder, variant)

    state, curves, grids = outcome(folder)
    expected_state, expected_curves, expected_grids = outcome(tmp_path / "undisturbed")
    assert_equal(state, expected_state)
    assert curves == expected_curves  # no gap, no duplicate
    assert [step for step, _ in curves["train/loss_discriminator"]] == list(range(1, STEPS + 1))
    assert grids == expected_grids
    assert not is_writing(folder)  # what the kills left half written is removed


def test_a_run_whose_folder_was_never_made_is_gone_on_with(data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(data)
    running = start(die_before_the_folder, "dcgan", cwd=tmp_path, logs=tmp_path / "logs", environment=environment())
    assert running.wait() == -signal.SIGKILL
    (lock,) = (tmp_path / "checkpoints").iterdir()  # of those who begin this training; no folder
    assert lock.suffix == ".lock"
    assert lock.stat().st_size == 0
    finish(tmp_path, "dcgan")

    _, curves, _ = outcome(tmp_path)  # of the only training
    assert [step for step, _ in curves["train/loss_discriminator"]] == list(range(1, STEPS + 1))
