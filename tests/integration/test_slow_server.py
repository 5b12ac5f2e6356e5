"""A tracking server that takes a second for each call: the steps do not wait for it, and everything arrives."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import run_pipeline
from tests.integration.test_outage import STEPS, Training, check
from tests.unit.pipeline.test_outbox import Server

SECONDS = 1.0  # of each call


class SlowServer(Server):
    """A server of MLflow behind a proxy that lets every call wait. calls: how many there were. delay: in seconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.calls, self.delay = 0, 0.0
        self.direct = self.uri

    @contextmanager
    def behind_a_proxy(self) -> Iterator[None]:
        server, port = self, self.port

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                server.calls += 1
                time.sleep(server.delay)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
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
            yield
            proxy.shutdown()
            self.uri = self.direct


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
