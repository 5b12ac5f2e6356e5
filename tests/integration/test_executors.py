"""A suite in many processes, or on a cluster whose node dies: the table is that of one process."""

import csv
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipeline.tracking.handover import CHECKPOINT
from tests.conftest import environment
from tests.processes import Running, start_pipeline
from tests.servers import mlflow_server, postgres, postgres_installed

SUITE = """
title: Eight cells
dataset: {name: tiny, sources: [avatars], num_images: 24}
seeds: [0, 1]
evaluation: {extractors: [efficientnet_lite0], num_samples: 8, every_epochs: 0.5, curve_samples: 4}
set: {batch_size: 4, max_steps: 12}
cells:
  - variant: dcgan
  - variant: wgan
  - variant: wgan_sgd
  - {variant: wgan, set: {weight_clip: 0.1}}
"""
NUM_CELLS = 8
OF_THE_CLOCK = {"time", "seconds", "images_per_second", "run_id", "start"}


def table(folder: Path) -> str:
    """Return the report's main table without the column of seconds, which no two runs have in common."""
    text = (folder / "reports" / "report.md").read_text()
    lines = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    header = next(cells for cells in lines if "seconds" in [cell.strip() for cell in cells])
    column = [cell.strip() for cell in header].index("seconds")
    first = lines.index(header)
    rows = [cells for cells in lines[first : first + 6] if len(cells) == len(header)]
    assert len(rows) == 6  # header, four configurations, real images
    return "\n".join("|".join([*(cell.strip() for cell in cells[:column]), *cells[column + 1 :]]) for cells in rows)


def measured(folder: Path) -> list[dict[str, str]]:
    """Return every number of every run, but for those of a clock."""
    (file,) = (folder / "reports").glob("runs-*.csv")
    rows = list(csv.DictReader(file.read_text().splitlines()))
    return [{name: value for name, value in row.items() if not OF_THE_CLOCK & set(name.split("/"))} for row in rows]


def begin(folder: Path, *arguments: str, variables: Mapping[str, str] = os.environ) -> Running:
    folder.mkdir(exist_ok=True)
    (folder / "eight.yaml").write_text(SUITE)
    extra = {} if variables is os.environ else dict(variables)
    return start_pipeline(
        "run", "eight.yaml", *arguments, cwd=folder, logs=folder / "output", environment=environment() | extra
    )


def finish(running: Running, seconds: float = 900.0) -> str:
    assert running.wait(seconds) == 0, running.errors.read_text()
    errors = running.errors.read_text()
    assert "Traceback" not in errors
    return errors


def trainings(client: MlflowClient) -> list[dict[str, str]]:
    experiments = [each.experiment_id for each in client.search_experiments()]
    return [dict(run.data.tags) for run in client.search_runs(experiments, "tags.stage = 'train'")]


def check_points(client: MlflowClient) -> None:
    """Check that every training is there once, finished, with every point once."""
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments, "tags.stage = 'train'")
    assert len({run.data.tags["fingerprint"] for run in runs}) == len(runs) == NUM_CELLS
    for run in runs:
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "train/loss_discriminator")
        assert [point.step for point in history] == list(range(1, 13))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a suite that ran in two processes, one of which was killed."""
    folder = tmp_path_factory.mktemp("alone")
    running = begin(folder, "--jobs", "2", "--cpus-per-cell", "1")
    worker = wait_for_worker(running, folder)
    worker.kill()
    errors = finish(running)
    assert "its process was ended by signal 9: killed, perhaps for want of memory; it goes on elsewhere." in errors
    return folder


def wait_for_worker(running: Running, folder: Path) -> psutil.Process:
    """Return a worker that is in the middle of a training."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and running.returncode is None:
        for child in psutil.Process(running.pid).children(recursive=True):
            owners = [json.loads(file.read_text())["process"] for file in folder.glob("checkpoints/*/.owner.json")]
            if child.pid in owners and any(folder.glob("checkpoints/*/step-*.json")):
                return child
        time.sleep(0.05)
    raise AssertionError(running.errors.read_text())


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(alone: Path) -> None:
    check_points(MlflowClient(f"sqlite:///{alone / 'mlflow.db'}"))
    logs = sorted(path.name for path in (alone / "logs" / "eight").iterdir())
    assert len(logs) == NUM_CELLS + 1
    assert logs[0] == "0000-dcgan-s0.log"
    assert "img/s" in (alone / "logs" / "eight" / logs[0]).read_text()


@pytest.mark.slow
def test_a_stopped_suite_goes_on(alone: Path, tmp_path: Path) -> None:
    """SIGTERM ends driver and workers with everything stored; a killed driver takes its workers with it."""
    running = begin(tmp_path / "suite", "--jobs", "2", "--cpus-per-cell", "1")
    worker = wait_for_worker(running, tmp_path / "suite")
    running.send_signal(signal.SIGTERM)
    assert running.wait(120) == 130
    assert running.errors.read_text().splitlines()[-1] == "Stopped, everything stored. The same command does the rest."
    assert not worker.is_running()

    running = begin(tmp_path / "suite", "--jobs", "2", "--cpus-per-cell", "1")
    worker = wait_for_worker(running, tmp_path / "suite")
    running.send_signal(signal.SIGKILL)
    running.wait()
    worker.wait(120)

    finish(begin(tmp_path / "suite", "--jobs", "2", "--cpus-per-cell", "1"))
    check_points(MlflowClient(f"sqlite:///{tmp_path / 'suite' / 'mlflow.db'}"))
    assert table(tmp_path / "suite") == table(alone)
    assert measured(tmp_path / "suite") == measured(alone)


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster of a head without room for cells and two nodes with folders of their own."""

    address: str
    folders: tuple[Path, Path]
    kill: Callable[[int], None]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    utils = pytest.importorskip("ray.cluster_utils")
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    folders = tmp_path / "node-0", tmp_path / "node-1"
    nodes = [made.add_node(num_cpus=2, env_vars={"GAN_NODE_DIRECTORY": str(folder)}) for folder in folders]
    made.wait_for_nodes()
    yield Cluster(made.address, folders, lambda number: made.remove_node(nodes[number], allow_graceful=False))
    made.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(not postgres_installed(), reason="PostgreSQL is not installed")
def test_a_node_dies_and_the_table_is_that_of_one_machine(alone: Path, tmp_path: Path, cluster: Cluster) -> None:
    """Eight cells, four at a time, on two nodes, with a tracking server on PostgreSQL between them."""
    folder = tmp_path / "suite"
    with postgres(tmp_path / "postgres") as backend, mlflow_server(backend, tmp_path / "server", workers=2) as server:
        running = begin(
            folder, "--executor", "ray", "--address", cluster.address, "--share-every", "1",
            variables=server.client_variables | {"MLFLOW_EXPERIMENT_NAME": "cells"},
        )  # fmt: skip
        client = MlflowClient(server.uri)
        victim = node_with_shared_checkpoint(running, client, cluster)
        cluster.kill(victim)
        errors = finish(running)
        assert "it goes on elsewhere" in errors
        assert "(attempt 2)" in errors
        check_points(client)
        assert all(CHECKPOINT not in tags for tags in trainings(client))  # nothing is left that nobody needs
    assert table(folder) == table(alone)
    assert measured(folder) == measured(alone)
    logs = "".join(file.read_text() for file in cluster.folders[1 - victim].glob("logs/*.log"))
    assert "fetching the checkpoint of step" in logs
    assert not (folder / "mlruns").exists()


def node_with_shared_checkpoint(running: Running, client: MlflowClient, cluster: Cluster) -> int:
    """Return the number of a node that is training what has a checkpoint in the store, once there is one."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and running.returncode is None:
        experiments = [each.experiment_id for each in client.search_experiments()]
        for run in client.search_runs(experiments, "tags.stage = 'train' and attributes.status = 'RUNNING'"):
            for number, folder in enumerate(cluster.folders):
                if CHECKPOINT in run.data.tags and (folder / "checkpoints" / run.info.run_id).exists():
                    return number
        time.sleep(0.1)
    raise AssertionError(running.errors.read_text())


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    for arguments, words in (
        (["--address", "auto"], "--address goes with --executor ray. Leave it out, or add that."),
        (["--cpus-per-cell", "1"], "--cpus-per-cell goes with --jobs N or --executor ray."),
        (["--executor", "ray", "--address", "127.0.0.1:9"], "--address 127.0.0.1:9: no Ray cluster answers"),
    ):
        running = begin(tmp_path, *arguments)
        assert running.wait() == 1
        (line,) = [line for line in running.errors.read_text().splitlines() if line.startswith("Error: ")]
        assert words in line
