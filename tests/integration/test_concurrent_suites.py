"""Four suites at once in one folder: one fresh SQLite store and one dataset for all of them."""

import csv
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import environment, run_pipeline
from tests.processes import start_pipeline

SUITE = """
title: One cell
dataset: {name: tiny, sources: [avatars], num_images: 24}
seeds: [0]
evaluation: {extractors: [efficientnet_lite0], num_samples: 8}
set: {batch_size: 4, max_steps: 4}
cells: [{variant: wgan}]
"""
NUM_SUITES = 4


def rows(reports: Path) -> list[dict[str, str]]:
    """Return the trainings of a report; the row of real images has no seed."""
    (file,) = reports.glob("runs-*.csv")
    return [row for row in csv.DictReader(file.read_text().splitlines()) if row["seed"]]


@pytest.mark.slow
def test_four_suites_with_seeds_of_their_own_share_a_fresh_store(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(SUITE)
    suites = [
        start_pipeline(
            "run", "one.yaml", "--seed", str(seed), "--out", f"reports-{seed}",
            cwd=tmp_path, logs=tmp_path / f"logs-{seed}", environment=environment(),
        )
        for seed in range(NUM_SUITES)
    ]  # fmt: skip
    for suite in suites:
        assert suite.wait() == 0, suite.errors.read_text()
        assert "Traceback" not in suite.errors.read_text()

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [each for each in client.search_experiments() if each.name == "gan-benchmark"]
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    trainings = [run for run in runs if run.data.tags["stage"] == "train"]
    assert sorted(run.data.tags["seed"] for run in trainings) == ["0", "1", "2", "3"]
    for run in trainings:
        curve = client.get_metric_history(run.info.run_id, "train/loss_discriminator")
        assert [point.step for point in curve] == [1, 2, 3, 4]
    for seed in range(NUM_SUITES):
        assert str(seed) in [row["seed"] for row in rows(tmp_path / f"reports-{seed}")]
    run_pipeline("report", cwd=tmp_path)
    complete = rows(tmp_path / "reports")
    assert sorted(row["seed"] for row in complete) == ["0", "1", "2", "3"]
    assert all(float(row["fd_efficientnet_lite0"]) > 0 for row in complete)


@pytest.mark.slow
def test_the_same_suite_four_times_at_once_makes_one_run(tmp_path: Path) -> None:
    """One of them trains; the others say who does, and find it done when they are started again."""
    (tmp_path / "one.yaml").write_text(SUITE)
    suites = [
        start_pipeline(
            "run", "one.yaml", "--out", f"reports-{number}",
            cwd=tmp_path, logs=tmp_path / f"logs-{number}", environment=environment(),
        )
        for number in range(NUM_SUITES)
    ]  # fmt: skip
    statuses = [suite.wait() for suite in suites]
    assert 0 in statuses
    for suite, status in zip(suites, statuses, strict=True):
        errors = suite.errors.read_text()
        assert "Traceback" not in errors
        if status != 0:
            assert "is being trained by another process, " in errors
    run_pipeline("run", "one.yaml", cwd=tmp_path)
    (row,) = rows(tmp_path / "reports")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    trainings = client.search_runs(["1"], "tags.stage = 'train'")
    assert "RUNNING" not in {run.info.status for run in trainings}
    assert row["run_id"] in {run.info.run_id for run in trainings}
