"""A tracking server that lets calls wait: the steps do not, everything arrives, and two that begin do not collide."""

import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import environment, run_pipeline
from tests.integration.test_outage import STEPS, TRAIN, Training, check
from tests.processes import Running, start_pipeline
from tests.unit.pipeline.test_outbox import CURVE, Server

SECONDS = 1.0  # of each call


class SlowServer(Server):
    """A server of MLflow behind a proxy that lets every call wait. calls: how many there were. delay: in seconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.calls, self.delay = 0, 0.0
        self.direct = self.uri

    def wait(self, body: bytes) -> None:
        """Let a call wait that has this body."""
        time.sleep(self.delay)

    @contextmanager
    def behind_a_proxy(self) -> Iterator[None]:
        server, port = self, self.port

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.calls += 1
                server.wait(body)
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                content = response.read()
                self.send_response(response.status)
                for key, value in response.getheaders():
                    if key.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                connection.close()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as proxy:
            thread = threading.Thread(target=proxy.serve_forever, daemon=True)
            thread.start()
            self.uri = f"http://127.0.0.1:{proxy.server_port}"
            try:
                yield
            finally:
                proxy.shutdown()
                self.uri = self.direct


class HoldingServer(SlowServer):
    """It holds what is written into a run once the store knows which training the run is, until it is told to go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.run_id = b""
        self.known, self.holds, self.goes_on = threading.Event(), threading.Event(), threading.Event()

    def wait(self, body: bytes) -> None:
        if self.run_id not in body:
            return
        if self.known.is_set():
            self.holds.set()
            assert self.goes_on.wait(300)
        if b"fingerprint" in body:
            self.known.set()


@pytest.mark.slow
def test_two_projects_begin_the_same_training_and_neither_takes_the_run_of_the_other(tmp_path: Path) -> None:
    """The first is held between the two: its run is in the store, its checkpoints are not locked yet."""
    run_pipeline("prepare", "--num-images", "20", "--name", "tiny", cwd=tmp_path)
    (tmp_path / "server").mkdir()
    server = HoldingServer(tmp_path / "server")
    server.start()
    client = MlflowClient(server.direct)
    experiment = client.create_experiment("two")
    run_ids = [client.create_run(experiment).info.run_id for _ in range(2)]  # as `mlflow run` makes them
    server.run_id = run_ids[0].encode()
    started: list[Running] = []

    def begin(run_id: str) -> Running:
        store = {"MLFLOW_TRACKING_URI": server.uri, "MLFLOW_EXPERIMENT_NAME": "two", "MLFLOW_RUN_ID": run_id}
        started.append(start_pipeline(*TRAIN, cwd=tmp_path, logs=tmp_path / run_id, environment=environment() | store))
        return started[-1]

    try:
        with server.behind_a_proxy():
            first = begin(run_ids[0])
            assert server.holds.wait(120), first.errors.read_text()
            calls = server.calls
            second = begin(run_ids[1])
            while second.returncode is None and server.calls == calls:  # it asks for the experiment first
                time.sleep(0.1)
            time.sleep(5)  # for what it would do with the run of the first
            server.goes_on.set()
            for process, run_id in zip(started, run_ids, strict=True):
                while not client.get_metric_history(run_id, CURVE):
                    assert process.returncode is None, process.errors.read_text()
                    time.sleep(0.2)
                owner = json.loads((tmp_path / "checkpoints" / run_id / ".owner.json").read_text())
                assert owner["process"] == process.pid
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.wait()
        server.kill()


@pytest.mark.slow
def test_steps_do_not_wait_for_a_slow_server(tmp_path: Path) -> None:
    """If they did, nothing would wait any more when the last checkpoint is written: it is written after a flush.

    The grid of the last step alone takes the server several calls, and its checkpoint far less than a second.
    """
    run_pipeline("prepare", "--num-images", "20", "--name", "tiny", cwd=tmp_path)
    (tmp_path / "server").mkdir()
    server = SlowServer(tmp_path / "server")
    server.start()
    try:
        with server.behind_a_proxy():
            training = Training(tmp_path, server, seed=0)
            training.wait_for(training.grids)
            calls, began, server.delay = server.calls, time.monotonic(), SECONDS
            training.wait_for(lambda: list(tmp_path.glob(f"checkpoints/*/step-{STEPS:09d}.json")))
            seconds, waiting = time.monotonic() - began, training.waits()
            during, server.delay = server.calls - calls, 0.0  # models are many files
            assert training.process.wait(600) == 0, training.log.read_text()
            print(f"{STEPS} steps in {seconds:.1f} s, {during} calls meanwhile, {len(waiting)} entries wait")
        log = training.log.read_text()
        assert waiting, log
        assert "does not answer" not in log  # slow is no outage
        assert "Traceback" not in log
        assert during > 0
        check(tmp_path, server)
    finally:
        server.kill()
