"""Ctrl-C and SIGTERM: finish the step, store everything, stop; at the second one stop at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STATUS = 130
NOTE = b"\nStopping after this step; once more stops at once.\n"


@contextmanager
def graceful_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether a stop was asked for.

    The second signal ends the process with STATUS, whatever it is doing: what the last checkpoint holds is kept.
    Python's own handlers wait for the end of a torch call; so a thread listens to the pipe that signals are written to.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield lambda: False
        return
    asked = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def listen() -> None:
        while number := os.read(reader, 1):
            if number[0] not in SIGNALS:
                continue
            if asked.is_set():
                os._exit(STATUS)
            asked.set()
            os.write(sys.stderr.fileno(), NOTE)

    previous = {number: signal.signal(number, _leave_to_the_thread) for number in SIGNALS}
    previous_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, name="signals", daemon=True)
    listener.start()
    try:
        yield asked.is_set
    finally:
        signal.set_wakeup_fd(previous_writer)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(writer)
        listener.join()
        os.close(reader)


def _leave_to_the_thread(_signal: int, _frame: FrameType | None) -> None:
    """Do nothing; without a handler Python would raise KeyboardInterrupt."""
