"""`pipeline ui`: the server starts with the view in place, says where it is, and leaves nothing behind."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests
from mlflow import MlflowClient

from pipeline.tracking import Store
from pipeline.tracking.views import NAME, TAG, install
from tests.browser import store
from tests.conftest import environment
from tests.processes import start_pipeline

__all__ = ["store"]

SECONDS = 120.0


@dataclass(frozen=True)
class Interface:
    """A running `pipeline ui`. address: what it printed."""

    process: subprocess.Popen[str]
    address: str

    @property
    def base(self) -> str:
        """The server's own address."""
        return self.address.partition("/#/")[0]


@contextmanager
def interface(uri: str, folder: Path, *arguments: str) -> Iterator[Interface]:
    """Run `pipeline ui` until the block ends."""
    errors = folder / "ui.err"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "ui", *(arguments or ("--port", "0"))],
            cwd=folder,
            env=environment() | {"MLFLOW_TRACKING_URI": uri},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # ends when the process ends, whatever happens
        assert line.startswith("MLflow UI: http"), errors.read_text()
        yield Interface(process, line.split()[2])
    finally:
        process.terminate()
        process.wait(SECONDS)


def ended(uri: str, folder: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run `pipeline ui` where it ends by itself; return its status, output and errors."""
    surroundings = environment() | {"MLFLOW_TRACKING_URI": uri} | variables
    running = start_pipeline("ui", *arguments, cwd=folder, logs=folder / "logs", environment=surroundings)
    return running.wait(SECONDS), running.output.read_text(), running.errors.read_text()


def failure(uri: str, folder: Path, *arguments: str, **variables: str) -> str:
    """Run `pipeline ui` where it must fail; return what it says."""
    status, output, errors = ended(uri, folder, *arguments, **variables)
    assert (status, output) == (1, "")
    assert "Traceback" not in errors
    return errors


@pytest.mark.slow
def test_it_serves_the_view_and_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    with interface(store.uri, tmp_path) as ui:
        children = psutil.Process(ui.process.pid).children(recursive=True)
        assert len(children) == 2, [child.cmdline() for child in children]
        query = "workflowType=machine_learning&viewStateShareKey=trainings"
        assert ui.address == f"{ui.base}/#/experiments/{store.experiment_id}/runs?{query}"
        assert ui.base.startswith("http://127.0.0.1:")

        served = MlflowClient(ui.base).get_experiment(store.experiment_id)
        assert json.loads(served.tags[TAG])["name"] == NAME
        assert requests.get(ui.base.replace("127.0.0.1", "localhost"), timeout=SECONDS).status_code == 200
        assert ended(ui.base, tmp_path) == (0, f"MLflow UI: {ui.address}\n", "")  # a store with a UI of its own

        ui.process.send_signal(signal.SIGTERM)
        assert ui.process.wait(30) == 0
    gone, alive = psutil.wait_procs(children, timeout=5)
    assert (len(gone), alive) == (2, [])
    said = (tmp_path / "ui.err").read_text()
    assert said == f"Starting MLflow's server for {store.uri} ...\n", "the server's log is not for the terminal"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["logs", "ui.err"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_it_stops_while_the_server_starts(store: Store, tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "pipeline", "ui", "--port", "0"]
    variables = environment() | {"MLFLOW_TRACKING_URI": store.uri}
    with subprocess.Popen(
        command, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # nohup has it ignored
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Starting MLflow's server")
        children: list[psutil.Process] = []
        deadline = time.monotonic() + SECONDS
        while not children and time.monotonic() < deadline:
            time.sleep(0.05)
            children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_a_taken_port_is_an_error_with_a_remedy(store: Store, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = failure(store.uri, tmp_path, "--port", str(port))
    assert said == (
        f"Error: --port: must be free on 127.0.0.1, got {port} (address already in use). "
        "Choose another one, or --port 0 for a free one.\n"
    )


def test_an_address_of_another_machine_is_an_error(store: Store, tmp_path: Path) -> None:
    said = failure(store.uri, tmp_path, "--host", "192.0.2.1", "--port", "0")
    assert said.startswith("Error: --host: must be an address of this machine, got '192.0.2.1'")


def test_a_server_that_dies_says_why(store: Store, tmp_path: Path) -> None:
    said = failure(store.uri, tmp_path, "--port", "0", MLFLOW_GUNICORN_OPTS="--threads 2")
    assert "Error: The MLflow server ended with status" in said
    assert "'--gunicorn-opts', '--waitress-opts', or '--uvicorn-opts'" in said


def test_the_view_is_written_when_it_changes_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def tag() -> str:
        return str(store.client.get_experiment(store.experiment_id).tags[TAG])

    install(store)
    before = tag()
    with monkeypatch.context() as patch:
        patch.setattr(type(store.client), "set_experiment_tag", lambda *_: pytest.fail("written again"))
        install(store)
    store.client.set_experiment_tag(store.experiment_id, TAG, "older")
    install(store)
    assert tag() == before
