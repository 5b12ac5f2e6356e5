"""Loading items on all cores. What is loaded goes from the workers into files, not through the parent process."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from gan.errors import UserError
from pipeline.data.items import Item, Loaded, Rejected, Rule
from pipeline.data.near_duplicates import thumbnail
from pipeline.data.records import RECORD, Scratch, note

CHUNK_ITEMS = 64
CHUNK_BYTES = 4 * 2**20
CHUNKS_PER_WORKER = 3  # in flight: enough to keep a worker busy, few enough to bound memory

Loader = Callable[[Rule], Loaded]


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Rejection:
    """An item that is no image. kind: an entry of FINDINGS."""

    slot: int
    name: str
    kind: str
    reason: str


class Loading:
    """A pool that loads items into `scratch`: slots count on over all calls of run.

    With one worker everything happens in this process. Workers are spawned, so they share no state with the parent,
    and they end when it does, however it ends.
    """

    def __init__(self, scratch: Scratch, rule: Rule, num_workers: int) -> None:
        self._scratch = scratch
        self._rule = rule
        self._num_workers = num_workers
        self._pool: ProcessPoolExecutor | None = None
        self.num_slots = 0
        for file in (scratch.pixels, scratch.records, scratch.names):
            if file is not None:
                file.touch()

    def __enter__(self) -> Self:
        if self._num_workers > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._num_workers, context, initializer=_start_worker)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, items: Iterable[Item]) -> Iterator[tuple[int, list[Rejection]]]:
        """Load `items` and yield, chunk by chunk, their number and those rejected. OSError if the disk is full."""
        try:
            yield from self._run(items)
        except BrokenProcessPool as error:
            raise UserError(
                "--num-workers: a worker process was killed, probably for want of memory. Ask for fewer workers."
            ) from error

    def _run(self, items: Iterable[Item]) -> Iterator[tuple[int, list[Rejection]]]:
        pending: deque[tuple[list[str], int, Future[list[_Verdict]]]] = deque()
        for chunk in _chunks(items):
            names = [item.name for item in chunk]
            self._scratch.append_names(names)
            pending.append((names, self.num_slots, self._submit([item.load for item in chunk])))
            self.num_slots += len(chunk)
            if len(pending) >= CHUNKS_PER_WORKER * self._num_workers:
                yield _collect(*pending.popleft())
        while pending:
            yield _collect(*pending.popleft())

    def _submit(self, loaders: Sequence[Loader]) -> "Future[list[_Verdict]]":
        if self._pool is not None:
            return self._pool.submit(_load_chunk, loaders, self._rule, self._scratch, self.num_slots)
        future: Future[list[_Verdict]] = Future()
        future.set_result(_load_chunk(loaders, self._rule, self._scratch, self.num_slots))
        return future


_Verdict = tuple[int, str, str]  # place in the chunk, kind and reason of a rejection


def _collect(names: list[str], first_slot: int, future: "Future[list[_Verdict]]") -> tuple[int, list[Rejection]]:
    rejected = [Rejection(first_slot + place, names[place], kind, reason) for place, kind, reason in future.result()]
    return len(names), rejected


def _chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Cut `items` into lists, limited in number and in bytes."""
    chunk: list[Item] = []
    num_bytes = 0
    for item in items:
        chunk.append(item)
        num_bytes += item.num_bytes
        if len(chunk) >= CHUNK_ITEMS or num_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, num_bytes = [], 0
    if chunk:
        yield chunk


def _load_chunk(loaders: Sequence[Loader], rule: Rule, scratch: Scratch, first_slot: int) -> list[_Verdict]:
    records = np.zeros(len(loaders), RECORD)
    rejected: list[_Verdict] = []
    position = -1
    with scratch.open_pixels() as file:
        for place, load in enumerate(loaders):
            try:
                loaded = load(rule)
            except Rejected as verdict:
                rejected.append((place, verdict.kind, verdict.reason))
                continue
            pixels = np.ascontiguousarray(loaded.pixels)
            note(records[place], loaded, hashlib.sha256(pixels.data).digest(), thumbnail(pixels))
            if file is not None:
                if position != place:  # a seek empties the buffer
                    file.seek((first_slot + place) * pixels.nbytes)
                file.write(pixels.data)
                position = place + 1
    with scratch.records.open("r+b") as file:
        file.seek(first_slot * RECORD.itemsize)
        file.write(records.data)
    return rejected


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, which stops its workers, and end with a parent that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.join,), daemon=True).start()


def _end_with(wait_for_parent: Callable[[], None]) -> None:
    wait_for_parent()
    os._exit(1)
