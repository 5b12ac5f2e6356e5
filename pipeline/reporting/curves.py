"""Curves of trainings, and what a step cost: the four ways to say "equally long"."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
MOST_DRAWN = 10  # rows of a figure
SECONDS = "time/seconds"  # curve: seconds of training that were over at a step


@dataclass(frozen=True)
class Curve:
    """Points of one metric of one run. steps: discriminator updates, strictly increasing [N]; values [N]."""

    steps: Numbers
    values: Numbers


@dataclass(frozen=True)
class Trajectory:
    """The curves of one run by metric, and what turns its steps into what they cost.

    discriminator_steps: discriminator updates of one generator update. batch_size: images of one
    discriminator update, on average.
    """

    seed: str
    curves: Mapping[str, Curve]
    discriminator_steps: int = 1
    batch_size: float = 1.0

    def finite(self, metric: str) -> Curve | None:
        """Return a curve without its points that are not finite; None where there is none."""
        curve = self.curves.get(metric)
        if curve is None:
            return None
        kept = np.isfinite(curve.values)
        return Curve(curve.steps[kept], curve.values[kept]) if kept.any() else None


def _seconds(trajectory: Trajectory, steps: Numbers) -> Numbers | None:
    known = trajectory.finite(SECONDS)
    if known is None or len(known.steps) < 2:
        return None
    return np.interp(steps, known.steps, known.values, left=np.nan, right=np.nan)


@dataclass(frozen=True)
class Axis:
    """A way to say how long a training was. of: turns steps into it, NaN where that is not known, or None."""

    title: str
    of: Callable[[Trajectory, Numbers], Numbers | None] = field(repr=False)


AXES: Mapping[str, Axis] = {
    "generator_updates": Axis("generator updates", lambda run, steps: steps / run.discriminator_steps),
    "discriminator_updates": Axis("discriminator updates", lambda _run, steps: steps),
    "images": Axis("images seen", lambda run, steps: steps * run.batch_size),
    "seconds": Axis("seconds", _seconds),
}
