"""Table of learning-rate schedules. A new one is a class and one entry in `ScheduleConfig`.

A schedule is a function of the step alone, so a checkpoint holds nothing of it. Its factor multiplies the learning
rates of both optimizers.
"""

import math
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from gan.schema import STRICT, Probability

WarmupSteps = Annotated[int, Field(ge=0, le=10**9)]


@dataclass(frozen=True, config=STRICT)
class Constant:
    """The learning rate of the optimizer."""

    name: Literal["constant"]
    warmup_steps: WarmupSteps = 0

    def factor(self, step: int, num_steps: int) -> float:  # noqa: ARG002 -- one signature for all schedules
        """Return the factor of step 1, ..., num_steps, in (0, 1]: 1 after the warm-up."""
        return _warmup(step, self.warmup_steps)


@dataclass(frozen=True, config=STRICT)
class Linear:
    """1 until the fraction `start` of the steps, then straight down to `final` at the last one.

    Source: Miyato et al. 2018, appendix B, arXiv:1802.05957 (to 0).
    """

    name: Literal["linear"]
    start: Probability
    final: Probability
    warmup_steps: WarmupSteps = 0

    def factor(self, step: int, num_steps: int) -> float:
        """Return the factor of step 1, ..., num_steps: in [final, 1] but for the warm-up."""
        done = max(0.0, (step / num_steps - self.start) / (1 - self.start))
        return _warmup(step, self.warmup_steps) * _between(self.final, done)


@dataclass(frozen=True, config=STRICT)
class Cosine:
    """Half a cosine wave from 1 down to `final` at the last step.

    Source: Loshchilov & Hutter 2017, eq. 5, arXiv:1608.03983, without restarts.
    """

    name: Literal["cosine"]
    final: Probability
    warmup_steps: WarmupSteps = 0

    def factor(self, step: int, num_steps: int) -> float:
        """Return the factor of step 1, ..., num_steps: in [final, 1] but for the warm-up."""
        done = (1 - math.cos(math.pi * step / num_steps)) / 2
        return _warmup(step, self.warmup_steps) * _between(self.final, done)


ScheduleConfig = Annotated[Constant | Linear | Cosine, Field(discriminator="name")]


def _warmup(step: int, warmup_steps: int) -> float:
    """Return 1 / warmup_steps at step 1, rising straight to 1 at step `warmup_steps`, and 1 after it.

    Source: Goyal et al. 2017, section 2.2, arXiv:1706.02677.
    """
    return min(1.0, step / max(1, warmup_steps))


def _between(final: float, done: float) -> float:
    """Return the number that lies the fraction `done` of the way from 1 to `final`."""
    return (1 - done) + done * final
