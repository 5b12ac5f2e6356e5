"""What is drawn, without how: curves of seeds, their bands, and panels of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.curves import Axis, Numbers, Trajectory

MOST_POINTS = 100  # of a run; where it has more, means of neighbours are drawn
MOST_PLACES = 300  # x of a band
FEW_POINTS = 30  # of a run: so few are marked one by one
CENTRAL = 1.0, 99.0  # percentiles; values beyond them by more than WIDE times their distance are not shown
MANY = 50  # values, from which on that is done
WIDE = 2.0
FAR = 100.0
MARGIN = 0.05  # of the range of y


@dataclass(frozen=True)
class Points:
    """Points of one run: x increasing [N], y [N], 1 <= N, all finite."""

    x: Numbers
    y: Numbers


@dataclass(frozen=True)
class Band:
    """Mean over seeds and their sample standard deviation (ddof 1), which one seed has not; each [N], x increasing."""

    x: Numbers
    mean: Numbers
    spread: Numbers | None


@dataclass(frozen=True)
class Line:
    """A row of a table, or one of its losses. style: index of its colour, dashes and marker.

    band: None where the seeds have no range of x in common. marked: its points are few, and measured as such.
    """

    label: str
    style: int
    seeds: Sequence[Points]
    band: Band | None

    @property
    def marked(self) -> bool:
        """Whether each measured point is to be seen."""
        return all(len(points.x) <= FEW_POINTS for points in self.seeds)

    @property
    def band_is_measured(self) -> bool:
        """Whether each point of the band is one that every seed has."""
        return self.band is not None and all(np.array_equal(self.band.x, points.x) for points in self.seeds)


@dataclass(frozen=True)
class Panel:
    """Lines over one x. log_from: the ratio of y's ends from which on y is logarithmic. floor: y of real images."""

    title: str
    x_title: str
    lines: Sequence[Line]
    log_from: float = 10.0
    floor: float | None = None


@dataclass(frozen=True)
class Limits:
    """Range of y. num_outside: points of runs that are not in it."""

    low: float
    high: float
    log: bool
    num_outside: int


def points_of(run: Trajectory, metric: str, axis: Axis, scale: float = 1.0) -> Points | None:
    """Return the points of a metric, times `scale`, that are finite and whose x is known; None without any."""
    curve = run.finite(metric)
    x = axis.of(run, curve.steps) if curve is not None else None
    if curve is None or x is None:
        return None
    known = np.isfinite(x)
    return thinned(Points(x[known], curve.values[known] * scale)) if known.any() else None


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """Return at most so many points: means of x and of y over equally many neighbours, fewer at the end."""
    starts = np.arange(0, len(points.x), -(-len(points.x) // most))
    sizes = np.diff(np.append(starts, len(points.x)))
    return Points(np.add.reduceat(points.x, starts) / sizes, np.add.reduceat(points.y, starts) / sizes)


def band(seeds: Sequence[Points]) -> Band | None:
    """Return mean and spread over at least one seed, for the range of x that all of them have; None without one.

    Between its points a curve is a straight line. The band stands on the points of all seeds, or on MOST_PLACES at
    equal distances where there are more of them.
    """
    start, end = max(points.x[0] for points in seeds), min(points.x[-1] for points in seeds)
    if start > end:
        return None
    x = np.unique(np.concatenate([points.x for points in seeds]))
    x = x[(start <= x) & (x <= end)]
    if len(x) > MOST_PLACES:
        x = np.linspace(start, end, MOST_PLACES)
    values = np.stack([np.interp(x, points.x, points.y) for points in seeds])
    return Band(x, values.mean(axis=0), values.std(axis=0, ddof=1) if len(seeds) > 1 else None)


def line(
    label: str, style: int, runs: Sequence[Trajectory], metric: str, axis: Axis, scale: float = 1.0
) -> Line | None:
    """Return the line of a metric over the runs that have it; None where none has."""
    found = [points for run in runs if (points := points_of(run, metric, axis, scale)) is not None]
    return Line(label, style, found, band(found)) if found else None


def limits(panel: Panel) -> Limits:
    """Return the range of y that holds every run, band and floor, or most of it where a few values lie far out.

    Those few are below or above the percentiles CENTRAL of MANY values or more. The range is logarithmic only where no
    value is negative; values of 0 are outside then, and so is a floor below the least value by more than FAR times:
    it is no more than noise around 0.
    """
    values = np.concatenate([points.y for line in panel.lines for points in line.seeds])
    positive = values[values > 0]
    floor = [] if panel.floor is None or not np.isfinite(panel.floor) else [panel.floor]
    near = [each for each in floor if len(positive) and each > positive.min() / FAR]
    log = _is_wide(values, positive, floor, near, panel.log_from)
    scaled = np.log10(positive) if log else values
    low, high = _central(scaled)
    if low == scaled.min() and high == scaled.max():
        edges = _edges(panel.lines, log)
        low, high = min(low, edges.min(initial=low)), max(high, edges.max(initial=high))
    for each in near if log else floor:
        low, high = min(low, np.log10(each) if log else each), max(high, np.log10(each) if log else each)
    margin = MARGIN * (high - low) or MARGIN * abs(high) or MARGIN
    low, high = low - margin, high + margin
    if log:
        low, high = 10**low, 10**high
    return Limits(float(low), float(high), log, int(((values < low) | (values > high)).sum()))


def _is_wide(
    values: Numbers, positive: Numbers, floor: Sequence[float], near: Sequence[float], log_from: float
) -> bool:
    """Return whether a logarithm does the values justice."""
    if len(positive) == 0 or values.min() < 0 or min(floor, default=0.0) < 0:
        return False
    ends = [*near, positive.min(), positive.max()]
    return bool(max(ends) > log_from * min(ends))


def _central(values: Numbers) -> tuple[float, float]:
    """Return the ends of the values, or of the central ones where those beyond would make these a thin line."""
    least, most = float(values.min()), float(values.max())
    if len(values) < MANY:
        return least, most
    low = float(np.percentile(values, CENTRAL[0], method="higher"))
    high = float(np.percentile(values, CENTRAL[1], method="lower"))
    beyond = WIDE * (high - low) or np.inf
    return (low if low - least > beyond else least), (high if most - high > beyond else most)


def _edges(lines: Sequence[Line], log: bool) -> Numbers:
    """Return both edges of all bands, [N]; where y is a logarithm the upper ones only, as a logarithm."""
    bands = [line.band for line in lines if line.band is not None]
    sides = [+1] if log else [+1, -1]
    found = [each.mean + side * each.spread for each in bands for side in sides if each.spread is not None]
    edges: Numbers = np.concatenate([*found, np.empty(0)])
    edges = edges[np.isfinite(edges)]
    if log:
        edges = np.log10(edges[edges > 0])
    return edges
