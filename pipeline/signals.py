"""Ctrl-C and SIGTERM: finish the step, store everything, stop; at the second one stop at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def graceful_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether a stop was asked for.

    The second signal ends the process as if nobody had handled it, whatever it is waiting for: what the last
    checkpoint holds is kept.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: False
        return
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, signal.SIG_DFL)
        os.write(sys.stderr.fileno(), b"\nStopping after this step; once more stops at once.\n")  # print may be running

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
