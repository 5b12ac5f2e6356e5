"""Progress bars with rate and remaining time, on the error stream; others can listen to them too."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

Listener = Callable[[str, float, float], None]
"""Is told what a bar is about, how far it is and how far it goes."""

TELL_SECONDS = 1.0
_listeners: list[Listener] = []


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Tell a listener of the bars of this process, about every second, until the block ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class _Bar(tqdm):  # type: ignore[type-arg]  # generic in the stubs alone
    """A bar that tells the listeners how far it is."""

    told = 0.0  # on the monotonic clock

    def update(self, n: float | None = 1) -> bool | None:
        shown = super().update(n)
        if _listeners and not self.disable and time.monotonic() - self.told >= TELL_SECONDS:
            self.told = time.monotonic()
            for listener in _listeners:
                listener(self.desc, float(self.n), float(self.total or 0))
        return shown


def progress_bar(*, total: int, unit: str, description: str, initial: int = 0, show: bool = True) -> "tqdm[Any]":
    """Return a bar; in a log file it prints a line every 30 seconds at most, and one that is not shown tells nobody."""
    return _Bar(
        total=total,
        initial=initial,
        unit=unit,
        desc=description,
        disable=not show,
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
        maxinterval=60.0,
    )
