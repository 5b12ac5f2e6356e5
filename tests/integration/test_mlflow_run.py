"""`mlflow run`, from the project's folder, from another one, and twice at once on a fresh store."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import ROOT, environment

PARAMETERS = ["variant=wgan_sgd", "epochs=1", "data=tiny", "overrides=batch_size=8 optimizer.lr=2e-4"]
ARGUMENTS = ["-e", "train", "--env-manager=local", *(part for p in PARAMETERS for part in ("-P", p))]


def mlflow_run(uri: str, cwd: Path, *arguments: str) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).parent / "mlflow"), "run", uri, *arguments]
    return subprocess.Popen(command, cwd=cwd, env=environment(), stdout=-1, stderr=-2, text=True)


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project, as a clone is, with a tiny dataset."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    finish(mlflow_run(".", folder, "-e", "prepare", "--env-manager=local", "-P", "num_images=16", "-P", "name=tiny"))
    (folder / "mlflow.db").unlink()
    return folder


def test_twice_at_once_on_a_fresh_store_then_from_another_folder(project: Path, tmp_path: Path) -> None:
    both = [mlflow_run(".", project, *ARGUMENTS) for _ in range(2)]
    for process in both:
        finish(process)
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    runs = client.search_runs(["0"], "tags.project = 'gan-benchmark'")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    trained = [run for run in runs if run.data.tags["stage"] == "train"]
    assert trained
    for run in trained:
        assert run.info.run_name == "wgan_sgd-s0"
        assert run.data.params["variant"] == "wgan_sgd"
        assert run.data.params["gan.lr"] == "0.0002"
        assert client.get_metric_history(run.info.run_id, "train/loss_discriminator")[-1].step == 2

    again = finish(mlflow_run(".", project, *ARGUMENTS))
    assert "was done before" in again
    (shell,) = client.search_runs(["0"], "tags.stage = 'command'", order_by=["start_time DESC"])[:1]
    assert shell.info.status == "FINISHED"
    assert shell.data.tags["targets"] in {run.info.run_id for run in trained}

    (tmp_path / "elsewhere").mkdir()
    relative = os.path.relpath(project, tmp_path / "elsewhere")
    finish(mlflow_run(relative, tmp_path / "elsewhere", *ARGUMENTS))
    store = MlflowClient(f"sqlite:///{tmp_path / 'elsewhere' / 'mlflow.db'}")
    (run,) = store.search_runs(["0"], "tags.stage = 'train'")
    assert run.info.status == "FINISHED"


def test_a_wrong_parameter_fails_with_one_line(project: Path) -> None:
    process = mlflow_run(".", project, "-e", "train", "--env-manager=local", "-P", "variant=wgna")
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "Error: --variant must be one of the variants" in output
    assert "Traceback" not in output.split("Error: --variant")[0]
