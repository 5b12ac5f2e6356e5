"""benchmarks/tracking_load.py: its simulated cells go through all stages, on a real server, and nothing fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from tests.servers import postgres_installed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not postgres_installed(), reason="there is no PostgreSQL"),
]

PARTS = {"begin", "curves", "grids", "checkpoints", "signs of life", "publish", "sample and evaluate"}


def test_a_cell_alone_and_two_at_once(tmp_path: Path) -> None:
    paces = ["--train-seconds", "5", "--evaluate-seconds", "1", "--share-every", "2", "--seconds", "5"]
    command = [sys.executable, str(ROOT / "benchmarks" / "tracking_load.py"), "--json", "load.json"]
    options = ["--workers", "1", "--cells", "2", "--lives", "1", *paces]
    ended = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "load.json").read_text())
    assert {part["part"] for part in found["parts"] if part["requests"] > 0} == PARTS
    (level,) = found["levels"]
    assert (level["cells"], level["failed"], level["failed_cells"]) == (2, 0, 0)
    assert level["latencies"]["log-batch"]["count"] > 0
