"""The tracking server disappears while a training runs: nothing is lost, nothing arrives twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import environment, run_pipeline
from tests.unit.pipeline.test_outbox import Server

STEPS = 60
TRAIN = ["train", "--variant", "wgan", "--data", "tiny", "--set", "batch_size=2", "--set", f"max_steps={STEPS}"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    run_pipeline("prepare", "--num-images", "20", "--name", "tiny", cwd=folder)
    return folder / "data"


@pytest.fixture(scope="module")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(only_server: Server) -> Server:
    if only_server.process is None:
        only_server.start()
    return only_server


class Training:
    """`pipeline train` on a server that the tests share: each has an experiment and a seed of its own."""

    def __init__(self, folder: Path, server: Server, seed: int) -> None:
        self.folder, self.server = folder, server
        self.log = folder / "train.log"
        variables = environment() | {
            "MLFLOW_TRACKING_URI": server.uri,
            "MLFLOW_EXPERIMENT_NAME": folder.name,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # of all other requests: they must not hide what is tested
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *TRAIN, "--seed", str(seed)],
                cwd=folder,
                env=variables,
                stdout=log,
                stderr=log,
            )

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 240
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def grids(self) -> list[Path]:
        """Return the grids that the server has on its disk."""
        runs = [path.name for path in self.folder.glob("checkpoints/*")]
        return [file for run in runs for file in self.server.folder.glob(f"artifacts/*/{run}/artifacts/images/*.png")]

    def waits(self) -> list[Path]:
        """Return what waits on disk."""
        return sorted(self.folder.glob("checkpoints/*/outbox/[0-9]*"))


def check(folder: Path, server: Server) -> None:
    """Check that the only run is finished and that no point and no grid is missing or there twice."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(folder.name)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    grids = [0, *range(5, STEPS + 1, 5)]
    curves = {
        "train/loss_discriminator": range(1, STEPS + 1),
        "train/epoch": range(STEPS + 1),
        "health/diversity": grids,
    }
    for curve, steps in curves.items():
        assert [point.step for point in client.get_metric_history(run.info.run_id, curve)] == list(steps)
    files = [Path(file.path).name for file in client.list_artifacts(run.info.run_id, "images")]
    names = [name for name in files if "fixed_z" in name]
    for ending in (".png", ".webp"):
        assert sorted(int(name.split("+")[2]) for name in names if name.endswith(ending)) == grids


@pytest.fixture
def folder(tmp_path: Path, data: Path) -> Path:
    (tmp_path / "data").symlink_to(data)
    return tmp_path


@pytest.mark.slow
def test_training_goes_on_while_the_server_is_gone(folder: Path, server: Server) -> None:
    training = Training(folder, server, seed=0)
    training.wait_for(training.grids)
    server.kill()
    training.wait_for(training.waits)
    server.start()
    assert training.process.wait(240) == 0, training.log.read_text()
    log = training.log.read_text()
    assert log.count("does not answer") == 1
    assert "images that waited were sent" in log
    assert "Traceback" not in log
    check(folder, server)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_during_the_outage_and_started_again_after_it(
    number: signal.Signals, folder: Path, server: Server
) -> None:
    training = Training(folder, server, seed=number)
    training.wait_for(training.grids)
    server.kill()
    training.wait_for(training.waits)
    os.kill(training.process.pid, number)
    assert training.process.wait(240) != 0
    log = training.log.read_text()
    assert "Traceback" not in log
    if number == signal.SIGINT:
        assert f"The tracking store {server.uri} does not answer; " in log
        assert "Once it works again, the same command sends them." in log
    assert training.waits()
    server.start()
    assert Training(folder, server, seed=number).process.wait(240) == 0, training.log.read_text()
    check(folder, server)
