"""Progress bars with rate and remaining time, on the error stream."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(*, total: int, unit: str, description: str, initial: int = 0, show: bool = True) -> "tqdm[Any]":
    """Return a bar; in a log file it prints a line every 30 seconds at most."""
    return tqdm(
        total=total,
        initial=initial,
        unit=unit,
        desc=description,
        disable=not show,
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 30.0,
        maxinterval=60.0,
    )
