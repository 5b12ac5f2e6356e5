"""Statistics over seeds and how numbers are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

NOTHING = "-"
MOST_DECIMALS = 6


@dataclass(frozen=True)
class Estimate:
    """Mean over training seeds and their sample standard deviation (ddof 1), which one seed has not."""

    mean: float
    spread: float | None
    num_seeds: int

    def overlaps(self, other: "Estimate") -> bool | None:
        """Whether the intervals mean ± spread touch; None where one of them has no spread."""
        if self.spread is None or other.spread is None:
            return None
        return abs(self.mean - other.mean) <= self.spread + other.spread


def estimate(values: Sequence[float]) -> Estimate:
    """Summarise at least one value; NaN and infinity make the mean NaN."""
    if not all(math.isfinite(value) for value in values):
        return Estimate(math.nan, None, len(values))
    return Estimate(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def decimals_of(values: Sequence[float], digits: int = 3) -> int:
    """Return how many decimals give the largest value so many significant digits, at least one."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return min(max(digits - _magnitude(largest) - 1, 1), MOST_DECIMALS)


def write_estimate(value: Estimate, decimals: int, *, fixed: bool = False) -> str:
    """Write "12.3 ± 0.4", or "12.3" for one seed.

    With more decimals where the spread or a small mean needs them, unless their number is fixed.
    """
    if not math.isfinite(value.mean):
        return "nan"
    if not fixed:
        needed = [0 if value.mean == 0 else -_magnitude(value.mean)]
        if value.spread:
            needed.append(-_magnitude(value.spread))
        decimals = min(max(decimals, *needed), decimals + 3, MOST_DECIMALS)
    mean = f"{round(value.mean, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0.0"
    return mean if value.spread is None else f"{mean} ± {value.spread:.{decimals}f}"


def write_count(value: float | None) -> str:
    """Write 16020 as "16,020"."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def write_seconds(value: float | None) -> str:
    """Write seconds, short times with a decimal."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _magnitude(value: float) -> int:
    """Return the exponent of ten: 2 for 250, -1 for 0.25."""
    return math.floor(math.log10(abs(value))) if value else 0
