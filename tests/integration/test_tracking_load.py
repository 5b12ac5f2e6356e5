"""benchmarks/tracking_load.py: its cells go through all stages on a real server, and store what real ones do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import ROOT, environment
from tests.servers import mlflow_server

PARTS = {"begin", "curves", "grids", "checkpoints", "signs of life", "publish", "sample and evaluate"}


@pytest.mark.slow
def test_a_cell_alone_and_two_at_once(tmp_path: Path) -> None:
    paces = ["--train-seconds", "5", "--evaluate-seconds", "1", "--share-every", "2", "--seconds", "5"]
    command = [sys.executable, str(ROOT / "benchmarks" / "tracking_load.py"), "--cells", "2", "--lives", "1", *paces]
    with mlflow_server(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "server") as server:
        options = ["--uri", server.uri, "--json", "load.json"]
        ended = subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=600
        )
        assert ended.returncode == 0, ended.stderr
        client = MlflowClient(server.uri)
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        lived = client.search_runs(ids, "tags.stage = 'train' and attributes.status = 'FINISHED'")
    assert len(lived) >= 2, "one life, and one before it to warm up"
    for run in lived:
        assert {"final/fd_efficientnet_lite0", "best/fd_efficientnet_lite0"} <= set(run.data.metrics)
    found = json.loads((tmp_path / "load.json").read_text())
    assert {part["part"] for part in found["parts"] if part["requests"] > 0} == PARTS
    (level,) = found["levels"]
    assert (level["cells"], level["failed"], level["failed_cells"]) == (2, 0, 0)
    assert level["latencies"]["log-batch"]["count"] > 0
