"""Loading items on all cores. Pixels go straight from the workers into a file, not through the parent process."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Self

from gan.errors import UserError
from pipeline.data.items import Item, Pixels, Rejected

CHUNK_ITEMS = 64
CHUNK_BYTES = 4 * 2**20
CHUNKS_PER_WORKER = 3  # in flight: enough to keep a worker busy, few enough to bound memory

Loader = Callable[[int], Pixels]
Outcome = bytes | str  # sha256 of the canonical pixels, or the reason for rejecting


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Loading:
    """A pool that loads items into `scratch`: the item with slot k fills the bytes of image k.

    Slots count on over all calls of run. With one worker everything happens in this process. Workers are spawned, so
    they share no state with the parent, and they end when it does, however it ends.
    """

    def __init__(self, scratch: Path, image_size: int, num_workers: int) -> None:
        self._scratch = scratch
        self._image_size = image_size
        self._num_workers = num_workers
        self._pool: ProcessPoolExecutor | None = None
        self._next_slot = 0
        scratch.touch()

    def __enter__(self) -> Self:
        if self._num_workers > 1:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._num_workers, context, initializer=_start_worker)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def run(self, items: Iterable[Item]) -> Iterator[tuple[Item, int, Outcome]]:
        """Load `items` and yield (item, slot, outcome) in their order. OSError if the disk is full."""
        try:
            yield from self._run(items)
        except BrokenProcessPool as error:
            raise UserError(
                "--num-workers: a worker process was killed, probably for want of memory. Ask for fewer workers."
            ) from error

    def _run(self, items: Iterable[Item]) -> Iterator[tuple[Item, int, Outcome]]:
        pending: deque[tuple[list[Item], int, Future[list[Outcome]]]] = deque()
        for chunk in _chunks(items):
            pending.append((chunk, self._next_slot, self._submit(chunk)))
            self._next_slot += len(chunk)
            if len(pending) >= CHUNKS_PER_WORKER * self._num_workers:
                yield from _collect(*pending.popleft())
        while pending:
            yield from _collect(*pending.popleft())

    def _submit(self, chunk: Sequence[Item]) -> "Future[list[Outcome]]":
        loaders = [item.load for item in chunk]
        if self._pool is not None:
            return self._pool.submit(_load_chunk, loaders, self._image_size, self._scratch, self._next_slot)
        future: Future[list[Outcome]] = Future()
        future.set_result(_load_chunk(loaders, self._image_size, self._scratch, self._next_slot))
        return future


def _collect(
    chunk: list[Item], first_slot: int, future: "Future[list[Outcome]]"
) -> Iterator[tuple[Item, int, Outcome]]:
    for offset, (item, outcome) in enumerate(zip(chunk, future.result(), strict=True)):
        yield item, first_slot + offset, outcome


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


def _load_chunk(loaders: Sequence[Loader], image_size: int, scratch: Path, first_slot: int) -> list[Outcome]:
    outcomes: list[Outcome] = []
    with scratch.open("r+b") as file:
        for slot, load in enumerate(loaders, start=first_slot):
            try:
                pixels = load(image_size).tobytes()
            except Rejected as reason:
                outcomes.append(str(reason))
                continue
            file.seek(slot * len(pixels))
            file.write(pixels)
            outcomes.append(hashlib.sha256(pixels).digest())
    return outcomes


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, which stops its workers, and end with a parent that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.join,), daemon=True).start()


def _end_with(wait_for_parent: Callable[[], None]) -> None:
    wait_for_parent()
    os._exit(1)
