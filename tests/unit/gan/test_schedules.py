"""Learning-rate schedules at their corners, and what holds for all of them."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.schedules import Constant, Cosine, Linear, ScheduleConfig

CONSTANT = Constant(name="constant")
LINEAR = Linear(name="linear", start=0.5, final=0.2)
COSINE = Cosine(name="cosine", final=0.2)
ULPS = 1e-12

fractions = st.floats(0, 0.99)
schedules = st.one_of(
    st.just(CONSTANT),
    st.builds(Linear, name=st.just("linear"), start=fractions, final=fractions),
    st.builds(Cosine, name=st.just("cosine"), final=fractions),
)


@pytest.mark.parametrize(
    ("schedule", "step", "factor"),
    [
        (CONSTANT, 1, 1.0),
        (CONSTANT, 100, 1.0),
        (LINEAR, 1, 1.0),
        (LINEAR, 50, 1.0),
        (LINEAR, 75, 0.6),
        (LINEAR, 100, 0.2),
        (COSINE, 1, 0.2 + 0.4 * (1 + math.cos(math.pi / 100))),
        (COSINE, 50, 0.6),
        (COSINE, 100, 0.2),
    ],
)
def test_factors_of_a_hundred_steps(schedule: ScheduleConfig, step: int, factor: float) -> None:
    assert schedule.factor(step, 100) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize("schedule", [CONSTANT, LINEAR, COSINE])
def test_warmup_rises_straight_to_the_schedule_without_it(schedule: ScheduleConfig) -> None:
    warm = dataclasses.replace(schedule, warmup_steps=10)
    for step in range(1, 101):
        expected = min(step / 10, 1) * schedule.factor(step, 100)
        assert warm.factor(step, 100) == pytest.approx(expected, rel=1e-12)


@given(schedules, st.integers(1, 500))
def test_factors_fall_from_one_to_the_final_one_without_a_jump(schedule: ScheduleConfig, num_steps: int) -> None:
    final = getattr(schedule, "final", 1.0)
    factors = [1.0, *(schedule.factor(step, num_steps) for step in range(1, num_steps + 1))]
    falls = [before - after for before, after in itertools.pairwise(factors)]
    steepest = {"constant": 0.0, "linear": 1 / (1 - getattr(schedule, "start", 0.0)), "cosine": math.pi / 2}
    assert factors[-1] == pytest.approx(final, abs=ULPS)
    assert min(falls) >= -ULPS
    assert max(falls) <= (1 - final) * steepest[schedule.name] / num_steps + ULPS


@given(schedules, st.integers(1, 500), st.integers(0, 600))
def test_no_learning_rate_is_raised_or_negative(schedule: ScheduleConfig, num_steps: int, warmup_steps: int) -> None:
    warm = dataclasses.replace(schedule, warmup_steps=warmup_steps)
    for step in range(1, num_steps + 1):
        assert 0 <= warm.factor(step, num_steps) <= schedule.factor(step, num_steps) <= 1


def test_a_training_of_one_step_ends_with_it() -> None:
    assert [each.factor(1, 1) for each in (CONSTANT, LINEAR, COSINE)] == [1.0, 0.2, 0.2]
