"""The UI of the tracking store: a light server in processes of its own, opened at the view of the trainings."""

import errno
import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from gan.errors import UserError, one_line
from pipeline.tracking import Store
from pipeline.tracking.failures import shown
from pipeline.tracking.views import address, install

READY_SECONDS = 120
STOP_SECONDS = 10
POLL_SECONDS = 0.2
LOG_LINES = 10
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to listen on: where to ask instead

log = logging.getLogger(__name__)


def serve(store: Store, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Serve the UI of a store and print its address once it answers; return after Ctrl-C, SIGTERM or SIGHUP.

    port: 0 takes a free one. A store that is a server itself has a UI: then only the address is printed.
    Raises UserError for an address that cannot be had and for a server that ends by itself.
    """
    key = install(store)
    if store.uri.startswith("http"):
        click.echo(f"MLflow UI: {address(shown(store.uri), store.experiment_id, key)}")
        return
    port = _free(host, port)
    asked = ANYWHERE.get(host, host)
    log.info("Starting MLflow's server for %s ...", shown(store.uri))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "server.log")
        with suppress(KeyboardInterrupt), _signals(), _server(store, host, port, output) as server:
            _wait_until_ready(server, asked, port, output)
            base = f"http://{f'[{asked}]' if ':' in asked else asked}:{port}"
            click.echo(f"MLflow UI: {address(base, store.experiment_id, key)} (Ctrl-C stops it)")
            server.wait()
            raise _ended(server, output)


def _free(host: str, port: int) -> int:
    """Return the port, or a free one for 0."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.create_server((host, port), family=family) as taken:
            return int(taken.getsockname()[1])
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            remedy = "Use 127.0.0.1, or 0.0.0.0 for other machines too."
            raise UserError(f"--host: must be an address of this machine, got '{host}'. {remedy}") from error
        reason = os.strerror(error.errno or 0).lower()
        remedy = "Choose another one, or --port 0 for a free one."
        raise UserError(f"--port: must be free on {host}, got {port} ({reason}). {remedy}") from error


@contextmanager
def _server(store: Store, host: str, port: int, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start MLflow's server for a store, in a group of processes that ends with the block.

    Its own jobs, of which this project needs none, would be eight processes more. The address of the database may
    hold a password: it goes through the environment, which other users cannot read.
    """
    location = str(store.client.get_experiment(store.experiment_id).artifact_location)
    variables = {
        "MLFLOW_BACKEND_STORE_URI": store.uri,
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": location.rpartition("/")[0],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_UVICORN_OPTS": "--log-level warning",
    }
    arguments = ["server", "--host", host, "--port", str(port), "--workers", "1"]
    with output.open("wb") as file:
        server = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "mlflow", *arguments],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends all of them
        )
    try:
        yield server
    finally:
        _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End a server and its children; at a second Ctrl-C, or when they take too long, at once."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        server.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)  # what is left of the group
    server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], host: str, port: int, output: Path) -> None:
    """Return once the server answers."""
    deadline = time.monotonic() + READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        connection.close()
        time.sleep(POLL_SECONDS)
    raise _ended(server, output)


def _ended(server: subprocess.Popen[bytes], output: Path) -> UserError:
    """Return the error of a server that ended, or never answered, with the last that it said."""
    status = server.poll()
    how = f"does not answer after {READY_SECONDS} s" if status is None else f"ended with status {status}"
    lines = [line for line in output.read_text(errors="replace").splitlines() if line.strip()][-LOG_LINES:]
    for line in lines:
        log.error("  %s", one_line(shown(line)))
    said = "" if lines else " It said nothing."
    return UserError(f"The MLflow server {how}. Try another --port, or `mlflow server` to see more.{said}")


@contextmanager
def _signals() -> Iterator[None]:
    """Let SIGTERM and the end of the terminal do what Ctrl-C does; what is ignored, as by nohup, stays ignored."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    previous = {number: signal.getsignal(number) for number in numbers}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
