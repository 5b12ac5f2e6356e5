"""Which runs of a store belong to a suite."""

import json
from pathlib import Path

import pytest

from gan.errors import UserError
from pipeline.config import load_experiment
from pipeline.suites import find_suite
from pipeline.tracking import CONFIG, Stage, Store, connect
from pipeline.tracking.runs import end_active_run

SUITE = """
title: Two rows
dataset: {name: faces, sources: [avatars]}
seeds: [0, 1]
evaluation: {extractors: [efficientnet_lite0], num_samples: 8}
set: {batch_size: 4}
cells:
  - variant: dcgan
  - variant: dcgan
    set: {optimizer.lr: 1e-3}
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    (tmp_path / "two.yaml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    return connect()


def train(store: Store, *overrides: str, seed: int = 0, status: str = "FINISHED", config: str = "", **tags: str) -> str:
    resolved = load_experiment("dcgan", ["batch_size=4", *overrides]).to_dict()
    content = {"stage": Stage.TRAIN, "seed": str(seed), "dataset": "faces", CONFIG: config or json.dumps(resolved)}
    with store.open_run(name="run", tags={**content, **tags}) as run:
        if status != "RUNNING":
            end_active_run(status)
    if status == "RUNNING":
        store.client.update_run(run.run_id, status="RUNNING")
    return run.run_id


def test_a_suite_is_what_was_trained_as_its_file_says(store: Store) -> None:
    train(store)
    newest = train(store, "precision=bf16", title="another title")
    train(store, status="RUNNING")
    fast = train(store, "optimizer.lr=1e-3", seed=1, status="FAILED", health="diverged")
    killed = train(store, seed=1, status="KILLED")
    train(store, seed=2)  # no seed of the suite
    train(store, "optimizer.lr=1e-2")  # no row of it
    train(store, "optimizer.lr=1e-3", dataset="others")
    for damaged in ("[" * 10_000, "3", "{}", "x"):
        train(store, config=damaged)

    suite = find_suite("two.yaml", store)
    assert (suite.name, suite.title, suite.data, suite.num_trainings) == ("two", "Two rows", "faces", 4)
    assert suite.run_ids == [newest, killed, fast]
    assert suite.missing == ["dcgan optimizer.lr=0.001 of seed 0", "dcgan of seed 1"]
    assert suite.run_command == "pipeline run two.yaml --data faces"

    other = find_suite("two.yaml", store, "others")
    assert (len(other.run_ids), len(other.missing)) == (1, 3)
    train(store, "precision=bf16", dataset="one")
    assert find_suite("two.yaml", store, "one").run_command == "pipeline run two.yaml --data one --precision bf16"
    with pytest.raises(UserError, match=r"has no training of it on 'nothing'.*pipeline run two.yaml --data nothing"):
        find_suite("two.yaml", store, "nothing")
