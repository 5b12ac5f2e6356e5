"""What travels to a node, and what it must not show."""

import os
from pathlib import Path

import pytest

from pipeline.cells import FAILED, Cell, run_cell_elsewhere
from pipeline.executors.local import slug
from pipeline.executors.node import Environment, Job
from pipeline.sharing.checkpoints import Sharing
from pipeline.sharing.inputs import Input
from pipeline.tracking import connect
from pipeline.workspace import Workspace

PASSWORD = "correct-horse-battery"  # noqa: S105 -- to be looked for


def test_variables_and_files_arrive_and_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = tmp_path / "authority.pem"
    certificate.write_bytes(b"-----BEGIN")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("UNRELATED", "1")
    environment = Environment.of_this_process()
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_SERVER_CERT_PATH"):
        monkeypatch.delenv(name)
    certificate.unlink()  # the node has it no more than the password
    before = dict(os.environ)
    with environment.applied():
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == os.environ["AWS_SECRET_ACCESS_KEY"] == PASSWORD
        there = Path(os.environ["MLFLOW_TRACKING_SERVER_CERT_PATH"])
        assert there.read_bytes() == b"-----BEGIN"
        assert there.parent.stat().st_mode & 0o077 == 0
    assert dict(os.environ) == before
    assert not there.exists()
    assert environment.values.keys().isdisjoint({"MLFLOW_RUN_ID", "UNRELATED"})


def test_a_job_does_not_show_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", PASSWORD)
    dataset = Input("tiny", "0" * 64, {})
    uri = f"https://user:{PASSWORD}@host"
    job = Job(uri, "1", "", dataset, None, Environment.of_this_process(), 1)
    assert PASSWORD not in repr(job)
    assert PASSWORD not in str(vars(job)["environment"])


def test_other_code_than_that_of_who_asks_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = Cell("a", "tiny", (), variant="wgan", experiment="", code_hash="another")
    outcome = run_cell_elsewhere(cell, store=connect(), workspace=Workspace(), sharing=Sharing(1.0))
    assert outcome.status == FAILED
    assert "package 'gan'" in outcome.reason
    assert "--ship" in outcome.reason


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dcgan-s0", "dcgan-s0"),
        ("wgan-s1 weight_clip=0.1", "wgan-s1-weight_clip=0.1"),
        ("../x/y.yaml-s0", "..-x-y.yaml-s0"),
    ],
)
def test_names_of_logs_stay_in_their_folder(name: str, expected: str) -> None:
    assert slug(name) == expected
    assert "/" not in slug(name)
