"""How steady a training was, from its curves. One entry of MEASURES is one number of a run and one column."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from gan.thresholds import LOW_DIVERSITY
from pipeline.reporting.curves import Numbers, Trajectory
from pipeline.reporting.numbers import Estimate, estimate

DIVERSITY = "health/diversity"
RESOLUTION = 1e-3


@dataclass(frozen=True)
class Measure:
    """A number of a run.

    header: of its column. of: from a run and the name of its Frechet curve to the number, None where it is not known.
    """

    header: str
    title: str
    better: Literal["lower", "higher"]
    of: Callable[[Trajectory, str], float | None] = field(repr=False)


@dataclass(frozen=True)
class Stability:
    """The numbers of a row by key of MEASURES, where a run has any: over its seeds, and the largest of a single run."""

    estimates: Mapping[str, Estimate]
    largest: Mapping[str, float]


def worst_rise(run: Trajectory, metric: str) -> float | None:
    """Return the largest relative rise between evaluations of the training, 0 where the distance never rises."""
    distances = _distances(run, metric, trained=True)
    return None if distances is None else max(0.0, float((np.diff(distances) / distances[:-1]).max()))


def last_to_best(run: Trajectory, metric: str) -> float | None:
    """Return how many times as large the last distance is as the smallest of training, at least 1."""
    distances = _distances(run, metric, trained=True)
    return None if distances is None else float(distances[-1] / distances.min())


def progress(run: Trajectory, metric: str) -> float | None:
    """Return the share, in [0, 1), of the first measured distance that was removed at best."""
    distances = _distances(run, metric)
    return None if distances is None else float(1 - distances.min() / distances[0])


def collapsed_share(run: Trajectory, metric: str) -> float | None:  # noqa: ARG001 -- one signature for all measures
    """Return the share, in [0, 1], of grids of samples that all look alike, from the first after step 0 that does not.

    An untrained generator's look alike too, and a training that leaves that behind has not collapsed. 1 for one that
    never does.
    """
    curve = run.finite(DIVERSITY)
    values = None if curve is None else curve.values[curve.steps > 0]
    if values is None or not len(values):
        return None
    alike = values < LOW_DIVERSITY
    return 1.0 if alike.all() else float(alike[alike.argmin() :].mean())


MEASURES: Mapping[str, Measure] = {
    "worst_rise": Measure(
        "worst rise ↓", "largest relative rise of the distance between evaluations of the training", "lower", worst_rise
    ),
    "collapsed_share": Measure(
        "collapsed ↓", "share of sample grids of low diversity, since the first that had more", "lower", collapsed_share
    ),
    "last_to_best": Measure(
        "last / best ↓", "last distance in units of the smallest of the training", "lower", last_to_best
    ),
    "progress": Measure("progress ↑", "share of the first distance that was removed", "higher", progress),
}


def stability(rows: Mapping[str, Sequence[Trajectory]], metric: str) -> Mapping[str, Stability]:
    """Return how steady the finished trainings of each row were, by label. metric: the name of a Frechet curve."""
    return {label: _of_row(runs, metric) for label, runs in rows.items()}


def _of_row(runs: Sequence[Trajectory], metric: str) -> Stability:
    found = {name: [v for run in runs if (v := each.of(run, metric)) is not None] for name, each in MEASURES.items()}
    known = {name: values for name, values in found.items() if values}
    return Stability(
        estimates={name: estimate(values) for name, values in known.items()},
        largest={name: max(values) for name, values in known.items()},
    )


def _distances(run: Trajectory, metric: str, *, trained: bool = False) -> Numbers | None:
    """Return the finite distances of a curve, above 0; None where they are fewer than two, which are no course.

    trained: without the untrained generator's at step 0: what BatchNorm's statistics do to it is no part of a course.
    Points that are not finite are left out: a training whose distances are not ends as diverged, and has no row's
    numbers. What is below RESOLUTION of the curve's largest distance (0 and, by rounding, less than 0 too) counts as
    that much, so that the ratio of two distances of about nothing is 1 and no ratio is above 1 / RESOLUTION.
    """
    curve = run.finite(metric)
    if curve is None:
        return None
    values = curve.values[curve.steps > 0] if trained else curve.values
    if len(values) < 2:
        return None
    return np.maximum(values, max(RESOLUTION * float(curve.values.max()), float(np.finfo(np.float64).tiny)))
