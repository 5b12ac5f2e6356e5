"""Views at equal effort: what every row had reached when it had cost so much, on each axis of AXES.

The values come from the curves, which are measured during training on the half of the images for choices: they are
compared with each other here, never with the tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.curves import AXES, Axis, Curve, Numbers, Trajectory
from pipeline.reporting.numbers import Estimate, estimate

SHARES = (1.0, 0.5)  # of the largest effort that all reached


@dataclass(frozen=True)
class View:
    """All rows at one effort.

    axis: key of AXES. share: of the largest effort that every run reached. budget: that share of it, in the axis'
    units. estimates: over the seeds that have a value there; None where none has. missing: why, for those.
    """

    axis: str
    share: float
    budget: float
    estimates: Mapping[str, Estimate | None]
    missing: Mapping[str, str]


def views_at_equal_effort(rows: Mapping[str, Sequence[Trajectory]], metric: str) -> tuple[View, ...]:
    """Return the views of a metric such as curve/fd_efficientnet_lite0: each axis at each of SHARES.

    rows: finished trainings by label. A run without the curve, or whose curve is not known on an axis, neither has a
    value there nor limits the budget. An axis on which no run is known has no view.
    """
    return tuple(view for name, axis in AXES.items() for view in _views(name, axis, rows, metric))


def value_at(points: Curve, amount: float) -> float | None:
    """Return the value at an amount, on the straight line between its neighbours; None outside of the points."""
    if not points.steps[0] <= amount <= points.steps[-1]:
        return None
    return float(np.interp(amount, points.steps, points.values))


def points_on(axis: Axis, run: Trajectory, metric: str) -> Curve | None:
    """Return a run's curve with its steps in units of an axis, without points that are unknown or not finite.

    The untrained generator's is left out: half-way between it and the first measurement nobody knows the distance,
    which may rise at first. None where nothing else is left, or where the axis runs backwards: the seconds of a run do,
    where it was killed and a faster machine repeated steps whose time was stored already.
    """
    curve = run.finite(metric)
    amounts = None if curve is None else axis.of(run, curve.steps)
    if curve is None or amounts is None:
        return None
    known = np.isfinite(amounts) & (curve.steps > 0)
    amounts, values = amounts[known], curve.values[known]
    return Curve(amounts, values) if _is_usable(amounts) else None


def _is_usable(amounts: Numbers) -> bool:
    return len(amounts) > 0 and bool((np.diff(amounts) >= 0).all())


def _views(name: str, axis: Axis, rows: Mapping[str, Sequence[Trajectory]], metric: str) -> list[View]:
    known = {label: [p for run in runs if (p := points_on(axis, run, metric))] for label, runs in rows.items()}
    reached = [float(points.steps[-1]) for runs in known.values() for points in runs]
    if not reached:
        return []
    return [_view(name, share, share * min(reached), known, rows, metric) for share in SHARES]


def _view(
    name: str,
    share: float,
    budget: float,
    known: Mapping[str, Sequence[Curve]],
    rows: Mapping[str, Sequence[Trajectory]],
    metric: str,
) -> View:
    values = {
        label: [value for points in runs if (value := value_at(points, budget)) is not None]
        for label, runs in known.items()
    }
    return View(
        axis=name,
        share=share,
        budget=budget,
        estimates={label: estimate(found) if found else None for label, found in values.items()},
        missing={label: _why(name, known[label], rows[label], metric) for label, found in values.items() if not found},
    )


def _why(name: str, known: Sequence[Curve], runs: Sequence[Trajectory], metric: str) -> str:
    """Say why a row has no value."""
    if known:
        return f"its first measurement was at {min(points.steps[0] for points in known):,.6g}"
    if not any((curve := run.finite(metric)) and curve.steps[-1] > 0 for run in runs):
        return f"it has no {metric} of a trained generator"
    return f"its {metric} is not known by {AXES[name].title}"
