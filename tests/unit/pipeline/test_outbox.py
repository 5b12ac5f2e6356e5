"""What a training writes arrives exactly once, whatever happens to the store and to the process."""

import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from gan.errors import UserError
from pipeline.tracking import Outbox, RunWriter
from pipeline.tracking import outbox as module
from tests.conftest import environment

CURVE = "train/loss_discriminator"


class Server:
    """A tracking server of MLflow with a database of its own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "mlflow"), "server", "--workers", "1", "--port", str(self.port)]
        stores = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        artifacts = ["--artifacts-destination", str(self.folder / "artifacts")]
        variables = environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        variables.pop("PYTEST_CURRENT_TEST", None)  # MLflow behaves differently under it
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *stores, *artifacts], env=variables, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self.answers():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(only_server: Server) -> Server:
    if only_server.process is None:  # also where a test failed that had killed it
        only_server.start()
    return only_server


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def new_run(uri: str) -> RunWriter:
    client = MlflowClient(uri)
    return RunWriter(client, client.create_run("0").info.run_id)


@pytest.fixture
def local(tmp_path: Path) -> RunWriter:
    """Return a run of a SQLite store, which needs no server."""
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "mlruns").as_uri())
    return RunWriter(client, client.create_run(experiment).info.run_id)


def picture(step: int) -> np.ndarray:
    return np.full((20, 30, 3), step, dtype=np.uint8)


def take(outbox: Outbox, *steps: int) -> None:
    for step in steps:
        outbox.add_points(step, {CURVE: step / 3, "train/epoch": step / 10})
        outbox.add_image("samples/fixed_z", step, picture(step))


def check(writer: RunWriter, *steps: int) -> None:
    """Check that the store has both points, one PNG and one webp of each step, nothing else, all of it whole."""
    client = MlflowClient(writer.client.tracking_uri)
    for key, divisor in ((CURVE, 3), ("train/epoch", 10)):
        history = client.get_metric_history(writer.run_id, key)
        assert [(point.step, point.value) for point in history] == [(step, step / divisor) for step in steps]
    names = [Path(file.path).name for file in client.list_artifacts(writer.run_id, "images")]
    stems = {name.removesuffix(".png") for name in names if name.endswith(".png")}
    assert len(names) == 2 * len(steps)
    assert {f"{stem}.png" for stem in stems} | {f"{stem}+compressed.webp" for stem in stems} == set(names)
    for step, stem in zip(steps, sorted(stems, key=lambda stem: int(stem.split("+")[2])), strict=True):
        assert stem.startswith(f"samples~fixed_z+step+{step}+timestamp+")
        file = client.download_artifacts(writer.run_id, f"images/{stem}.png")
        assert (np.asarray(Image.open(file)) == picture(step)).all()
        with Image.open(client.download_artifacts(writer.run_id, f"images/{stem}+compressed.webp")) as small:
            small.load()
    assert client.get_run(writer.run_id).data.tags["mlflow.loggedImages"] == "True"


def test_everything_arrives_and_nothing_is_left(local: RunWriter, tmp_path: Path) -> None:
    outbox = Outbox(local, tmp_path / "outbox")
    take(outbox, 0, 5)
    outbox.tick()  # too early
    assert not local.client.get_metric_history(local.run_id, CURVE)
    outbox.flush()
    take(outbox, 10)
    outbox.drain(0)
    check(local, 0, 5, 10)
    assert not (tmp_path / "outbox").exists()


def test_it_sends_by_itself_when_it_is_time(local: RunWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.0)
    outbox = Outbox(local, tmp_path / "outbox")
    take(outbox, 1)
    outbox.tick()
    check(local, 1)


def test_more_points_than_a_request_holds_and_values_that_json_has_not(local: RunWriter, tmp_path: Path) -> None:
    unreachable = RunWriter(MlflowClient(f"http://127.0.0.1:{free_port()}"), local.run_id)
    values = {f"gradient_norm/generator/{index}": 1 / (index + 1) for index in range(299)} | {CURVE: float("nan")}
    outbox = Outbox(unreachable, tmp_path / "outbox")
    for step in range(10):
        outbox.add_points(step, values | {"health/largest": float("inf")})
    outbox.flush()
    assert len(list((tmp_path / "outbox").iterdir())) == 4  # three steps a request

    again = Outbox(local, tmp_path / "outbox")
    assert again.steps()[CURVE] == set(range(10))
    again.drain(0)
    for key, value in values.items():
        history = local.client.get_metric_history(local.run_id, key)
        assert [point.step for point in history] == list(range(10))
        assert all(point.value == value or np.isnan(value) == np.isnan(point.value) for point in history)
    assert np.isnan(local.client.get_metric_history(local.run_id, CURVE)[0].value)
    assert local.client.get_metric_history(local.run_id, "health/largest")[9].value > 1e308


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.5)
    caplog.set_level(logging.INFO, "pipeline")
    writer = new_run(server.uri)
    outbox = Outbox(writer, tmp_path / "outbox")
    take(outbox, 0, 1)
    outbox.flush()
    take(outbox, 2)
    server.kill()

    for step in (3, 4, 5):
        take(outbox, step)
        started = time.monotonic()
        outbox.flush()
        assert time.monotonic() - started < 8
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"The tracking store {server.uri} does not answer (")
    assert warning.endswith(f"). Training goes on; what it writes waits in {tmp_path / 'outbox'}.")
    take(outbox, 6)  # never flushed: the process dies, and the next one computes it again
    with pytest.raises(UserError) as error:
        Outbox(writer, tmp_path / "outbox").drain(0)
    assert str(error.value) == (
        f"The tracking store {server.uri} does not answer; 8 points and 4 images wait in {tmp_path / 'outbox'}. "
        "Once it works again, the same command sends them."
    )

    second = Outbox(writer, tmp_path / "outbox")
    assert second.steps()[CURVE] == {2, 3, 4, 5}
    take(second, 6)
    second.add_image("samples/fixed_z", 5, picture(5))  # drawn again: the checkpoint was older
    second.flush()
    take(second, 7)
    starting = threading.Thread(target=server.start)
    starting.start()
    second.drain(120)
    starting.join()
    take(second, 8)
    second.flush()
    check(writer, 0, 1, 2, 3, 4, 5, 6, 7, 8)
    assert "The tracking store answers: 12 points and 6 images that waited were sent." in caplog.messages
    assert not (tmp_path / "outbox").exists()


@contextmanager
def deaf_proxy(server: Server) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a proxy that passes requests on, and the paths whose next answer it loses."""
    losing: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            upstream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            upstream.request(self.command, self.path, body, dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            lost = next((part for part in losing if part in self.path), None)
            if lost is not None:
                losing.remove(lost)
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"] or "text/plain")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = pass_on  # noqa: N815 -- the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}", losing
    finally:
        proxy.shutdown()
        proxy.server_close()


@pytest.mark.parametrize("dies", [False, True])
def test_what_was_stored_but_not_confirmed_is_not_stored_twice(
    dies: bool, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.0)
    with deaf_proxy(server) as (address, losing):
        writer = RunWriter(MlflowClient(address), new_run(server.uri).run_id)
        outbox = Outbox(writer, tmp_path / "outbox")
        take(outbox, 0, 1, 2)
        for path in ("log-batch", ".png", ".webp", "log-batch"):
            losing.append(path)
            outbox.flush()
            assert not losing
            assert list((tmp_path / "outbox").iterdir())
            if dies:
                outbox = Outbox(writer, tmp_path / "outbox")
        outbox.drain(0)
        check(writer, 0, 1, 2)


def test_an_image_that_a_killed_process_stored_in_part_is_replaced(server: Server, tmp_path: Path) -> None:
    """Killed without a flush: the next process draws it again, under a name of its own."""
    writer = new_run(server.uri)
    writer.log_image_of_series(picture(1), "samples~fixed_z+step+1+timestamp+5+aa")
    half = tmp_path / "samples~fixed_z+step+2+timestamp+6+bb.png"
    half.write_bytes(b"\x89PNG half")
    writer.log_file(half, "images")

    outbox = Outbox(writer, tmp_path / "outbox")
    outbox.add_points(0, {CURVE: 0.0})
    for step in (1, 2, 3):
        take(outbox, step)
    outbox.drain(0)
    names = [Path(file.path).name for file in writer.client.list_artifacts(writer.run_id, "images")]
    assert "samples~fixed_z+step+2+timestamp+6+bb.png" in names
    assert len(names) == 6
    for number, ending in ((1, "+5+aa.png"), (2, "+6+bb.png")):
        (name,) = [name for name in names if name.endswith(ending)]
        file = writer.client.download_artifacts(writer.run_id, f"images/{name}")
        assert (np.asarray(Image.open(file)) == picture(number)).all()


def test_a_deleted_run_is_one_line_that_says_what_to_do(server: Server, tmp_path: Path) -> None:
    writer = new_run(server.uri)
    writer.client.delete_run(writer.run_id)
    outbox = Outbox(writer, tmp_path / "outbox")
    take(outbox, 0)
    with pytest.raises(UserError) as error:
        outbox.flush()
    assert "must be in the 'active' state" in str(error.value)
    assert f"mlflow runs restore --run-id {writer.run_id}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file")
    outbox = Outbox(RunWriter(MlflowClient(f"http://127.0.0.1:{free_port()}"), "r"), tmp_path / "outbox")
    take(outbox, 0)
    with pytest.raises(UserError, match=r"outbox: cannot be written: File exists; .* run the same command again\.$"):
        outbox.flush()


def test_damaged_files_are_named_and_the_others_sent(
    local: RunWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unreachable = RunWriter(MlflowClient(f"http://127.0.0.1:{free_port()}"), local.run_id)
    outbox = Outbox(unreachable, tmp_path / "outbox")
    for step in range(4):
        take(outbox, step)
        outbox.flush()
    caplog.clear()
    points = sorted((tmp_path / "outbox").glob("*.json"))
    images = sorted((tmp_path / "outbox").glob("*.png"))
    points[1].write_text('[["train/loss')
    images[1].write_bytes(images[1].read_bytes()[:-30])
    (tmp_path / "outbox" / ".000009-x.0123.json").write_text("[")  # of a process killed while writing

    again = Outbox(local, tmp_path / "outbox")
    first, second = caplog.messages
    assert first == f"{points[1]} is damaged: the tracking store will not get points-of-steps-1-1"
    assert second.startswith(f"{images[1]} is damaged: the tracking store will not get samples~fixed_z+step+1+")
    assert again.steps()[CURVE] == {0, 2, 3}  # so a training that passes step 1 again fills the gap
    again.drain(0)
    check(local, 0, 2, 3)
    assert not (tmp_path / "outbox").exists()


@contextmanager
def hung_server() -> Iterator[tuple[str, list[float]]]:
    """Yield the address of a server that takes connections and never answers, and the times of them."""
    attempts: list[float] = []
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connections.append(listener.accept()[0])
                    attempts.append(time.monotonic())

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}", attempts
        listener.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        connection.close()


def test_a_server_that_hangs_costs_one_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with hung_server() as (address, attempts):
        outbox = Outbox(RunWriter(MlflowClient(address), "r"), tmp_path / "outbox")
        take(outbox, 0)
        started = time.monotonic()
        outbox.flush()
        assert 9 < time.monotonic() - started < 15
        assert not [name for name in os.environ if name.startswith("MLFLOW_HTTP")]
        take(outbox, 1)
        outbox.flush()  # too early for another attempt
        outbox.tick()
        assert len(attempts) == 1
        assert len(list((tmp_path / "outbox").iterdir())) == 4
    assert "secret" not in caplog.text
    assert "//127.0.0.1" in caplog.text


def test_pauses_double_and_the_user_s_own_limits_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.4)
    monkeypatch.setattr(module, "LAST_PAUSE", 1.2)
    with hung_server() as (address, attempts):
        outbox = Outbox(RunWriter(MlflowClient(address), "r"), tmp_path / "outbox")
        take(outbox, 0)
        while len(attempts) < 4:
            outbox.flush()
            time.sleep(0.01)
    gaps = [later - earlier - 1 for earlier, later in pairwise(attempts)]
    assert gaps[:3] == pytest.approx([0.4, 0.8, 1.2], abs=0.3)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "1"


@pytest.mark.slow
def test_a_locked_database_is_an_outage_too(local: RunWriter, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import sqlite3

    outbox = Outbox(local, tmp_path / "outbox")
    take(outbox, 0)
    other = sqlite3.connect(tmp_path / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    outbox.flush()
    (warning,) = caplog.messages  # no traceback of MLflow beside it
    assert "does not answer (database is locked)" in warning
    other.rollback()
    other.close()
    outbox.drain(0)
    check(local, 0)


def test_a_failed_training_is_reported_though_the_store_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    from pipeline.tracking import connect

    with deaf_proxy(server) as (address, losing):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        store = connect()

        def fail() -> None:
            with store.open_run(name="r", tags={}):
                losing.append("runs/update")
                raise UserError("the real reason")

        with pytest.raises(UserError, match="the real reason"):
            fail()
    assert "the run is not marked FAILED there" in caplog.text


def test_no_server_at_the_start_is_said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.tracking import connect

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(UserError, match="cannot be used"):
        connect()
    assert time.monotonic() - started < 25
