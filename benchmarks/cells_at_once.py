"""Many simulated cells at once, each in a process of its own, and what is seen meanwhile."""

import multiprocessing
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from cell_materials import Materials, Pace
from requests_seen import KINDS, QUICK, Recorder, Request
from simulated_cell import SimulatedTraining, live, simulated_cell, without_computing

from gan.errors import UserError
from pipeline.tracking import connect
from pipeline.tracking.outbox import FLUSH_SECONDS

LONG_SECONDS = 1.0  # a server that takes longer for what should be quick is saturated
PAUSE_SECONDS = 5.0  # until a cell that failed is tried again
BEGIN_SECONDS = 600  # for all to begin
GOLDEN = 0.618  # its multiples are spread evenly over each second
FORK = multiprocessing.get_context("fork")  # what was imported and made is there, in the same memory


@dataclass(frozen=True)
class Level:
    """Some cells at once. late: share of flushes that found something waiting since the flush before.

    failed: requests without an answer or with a server's error. failed_cells: those that could not begin or go on.
    latencies: kind -> count and milliseconds. processors: who -> processors busy, on average. disk: share of the time
    in which the busiest disk was busy.
    """

    workers: int
    cells: int
    seconds: float
    begin_seconds: float
    requests_per_second: float
    megabytes_per_second: float
    failed: int
    failed_cells: int
    late: float
    latencies: Mapping[str, Mapping[str, float]]
    processors: Mapping[str, float]
    disk: float

    @property
    def is_saturated(self) -> bool:
        """Tell whether the server no longer keeps up."""
        slow = any(self.latencies[kind]["p95"] > 1e3 * LONG_SECONDS for kind in QUICK if kind in self.latencies)
        return slow or self.late > 0 or self.failed > 0 or self.failed_cells > 0


def at_once(materials: Materials, pace: Pace, cells: int, seconds: float, workers: int, folder: Path) -> Level:
    """Let cells live at once, and return what was seen in some seconds after all have begun."""
    started, begun, pipes = time.monotonic(), FORK.Barrier(cells + 1), []
    for number in range(cells):
        receiving, sending = FORK.Pipe(duplex=False)
        since = pace.train_seconds * (number + 0.5) / cells
        life = _Life(materials, pace, number, since, seconds, folder / str(number))
        FORK.Process(target=life.go_on, args=(begun, sending)).start()
        pipes.append(receiving)
    begun.wait(BEGIN_SECONDS)
    began = time.monotonic()
    before, disks_before = processor_seconds(), disk_milliseconds()
    time.sleep(seconds)
    after, disks_after = processor_seconds(), disk_milliseconds()
    seen = [pipe.recv() for pipe in pipes]
    requests = [request for each in seen for request in each["requests"]]
    busy = {who: (after[who] - before[who]) / seconds for who in after}
    busy["clients"] = sum(each["processor_seconds"] for each in seen) / seconds
    busy["others"] = max(0.0, busy.pop("all") - sum(busy.values()))
    of_kinds = {kind: latencies([request for request in requests if request.kind == kind]) for kind in KINDS}
    return Level(
        workers, cells, seconds, began - started, len(requests) / seconds,
        sum(request.sent + request.received for request in requests) / seconds / 1e6,
        sum(request.failed for request in requests), sum(each["failed_cells"] for each in seen),
        sum(each["late"] for each in seen) / max(1, sum(each["flushes"] for each in seen)),
        {kind: found for kind, found in of_kinds.items() if found}, busy,
        max((disks_after[name] - disks_before[name] for name in disks_before), default=0.0) / 1e3 / seconds,
    )  # fmt: skip


class _Life:
    """One cell after the other, until the time is over. since: the second of its training at which the first begins."""

    def __init__(
        self, materials: Materials, pace: Pace, number: int, since: float, seconds: float, folder: Path
    ) -> None:
        self.materials, self.number, self.seconds, self.folder = materials, number, seconds, folder
        self.recorder = Recorder()
        self.training = SimulatedTraining(materials, pace, self.recorder, self.wait)
        self.training.since, self.training.ahead = since, FLUSH_SECONDS * (number * GOLDEN % 1)
        self.failed_cells = 0
        self.began: float | None = None  # when all had begun
        self.origin = 0.0  # when the training of now began

    def go_on(self, begun: Any, pipe: Connection) -> None:
        """Live; in the end say what was seen, and end this process."""
        self.begun, self.pipe = begun, pipe
        self.recorder.install()
        with without_computing(self.materials, self.training):
            for life in count():
                try:
                    cell = simulated_cell(self.materials, 1000 * (self.number + 1) + life)
                    live(cell, connect(), self.folder / str(life))
                except (RuntimeError, UserError):  # the server is overloaded: another time, as a cluster would
                    self.failed_cells += 1
                    time.sleep(PAUSE_SECONDS)

    def wait(self, second: float) -> None:
        """Sleep until a second of the training; at first until all others have begun."""
        if self.began is None:
            self.begun.wait(BEGIN_SECONDS)
            self.began, self.processor_seconds = time.monotonic(), time.process_time()
            self.origin = self.began - self.training.since
            timer = threading.Timer(self.seconds, self.finish)
            timer.daemon = True
            timer.start()
        elif second == 0.0:
            self.origin = time.monotonic()
        time.sleep(max(0.0, self.origin + second - time.monotonic()))

    def finish(self) -> None:
        """Say what was seen."""
        self.pipe.send(
            {
                "requests": [each for each in list(self.recorder.requests) if each.started >= (self.began or 0.0)],
                "processor_seconds": time.process_time() - self.processor_seconds,
                "flushes": self.training.flushes,
                "late": self.training.late,
                "failed_cells": self.failed_cells,
            }
        )
        os._exit(0)


def latencies(requests: Sequence[Request]) -> dict[str, float]:
    """Return how many there were and percentiles of their milliseconds; nothing where there were none."""
    if not requests:
        return {}
    p50, p95, p99 = np.percentile([1e3 * request.seconds for request in requests], [50, 95, 99])
    return {"count": len(requests), "p50": float(p50), "p95": float(p95), "p99": float(p99)}


def processor_seconds() -> dict[str, float]:
    """Return the seconds that processors worked: for the server, its database, this process, and all together."""
    seconds = {"server": 0.0, "database": 0.0}
    for child in psutil.Process().children():
        who = "database" if "postgres" in child.name() else "server" if "mlflow" in _command(child) else None
        if who is not None:
            seconds[who] += _seconds_of(child) + sum(_seconds_of(each) for each in child.children(recursive=True))
    times = psutil.cpu_times()
    everything = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    return {**seconds, "clients": time.process_time(), "all": everything}


def _command(process: psutil.Process) -> Sequence[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended
        return []


def _seconds_of(process: psutil.Process) -> float:
    """Return the seconds of a process and of its children that have ended."""
    try:
        return sum(process.cpu_times()[:4])
    except psutil.Error:  # it has ended
        return 0.0


def disk_milliseconds() -> dict[str, int]:
    """Return for how long each disk was busy."""
    counters = psutil.disk_io_counters(perdisk=True) or {}
    return {name: getattr(each, "busy_time", 0) for name, each in counters.items()}
