"""Every request that this process makes: what kind, for which part of a cell's life, how long, how many bytes."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

LARGE = 1_000_000  # bytes of a file
KINDS = ("log-batch", "other writes", "reads", "small files", "large files", "downloads")
QUICK = KINDS[:4]  # kinds for which a second is long
SIGNS = "signs of life"


@dataclass(frozen=True)
class Request:
    """One request. started: on the monotonic clock. sent, received: bytes of the bodies."""

    part: str
    kind: str
    started: float
    seconds: float
    sent: int
    received: int
    failed: bool


class Recorder:
    """Keeps every request of this process, once installed.

    part: what the process is doing. changed: called before it does something else.
    """

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        self.requests: list[Request] = []
        self.part = ""
        self.changed = changed

    def begin(self, part: str) -> None:
        """Say what comes now."""
        self.changed()
        self.part = part

    def install(self) -> None:
        """Look at what the library `requests`, and so MLflow, sends from now on."""
        send = requests.Session.send

        def recorded(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> Any:
            started, response = time.monotonic(), None
            try:
                response = send(session, request, **options)
            finally:
                self._add(request, response, started)
            return response

        requests.Session.send = recorded  # type: ignore[assignment, method-assign]

    def _add(self, request: requests.PreparedRequest, response: requests.Response | None, started: float) -> None:
        seconds = time.monotonic() - started
        sent = int(request.headers.get("Content-Length", 0))
        received = int(response.headers.get("Content-Length", 0)) if response is not None else 0
        kind = kind_of(str(request.method), str(request.path_url), sent)
        part = SIGNS if threading.current_thread().name == "lease" else self.part
        failed = response is None or response.status_code >= 500  # or it took too long
        self.requests.append(Request(part, kind, started, seconds, sent, received, failed))


def kind_of(method: str, path: str, size: int) -> str:
    """Return one of KINDS. size: bytes of the request's body."""
    path = path.partition("?")[0]
    if "/mlflow-artifacts/artifacts/" in path and method in ("GET", "PUT"):
        return "downloads" if method == "GET" else "large files" if size >= LARGE else "small files"
    if path.endswith("/log-batch"):
        return "log-batch"
    return "reads" if method == "GET" or path.endswith("/search") else "other writes"
