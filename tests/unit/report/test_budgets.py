import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.budgets import SHARES, View, value_at, views_at_equal_effort
from pipeline.reporting.curves import AXES, SECONDS, Curve, Trajectory
from pipeline.reporting.numbers import Estimate

METRIC = "curve/fd_efficientnet_lite0"


def curve(*points: tuple[float, float]) -> Curve:
    steps, values = zip(*points, strict=True)
    return Curve(np.array(steps, float), np.array(values, float))


def run(*points: tuple[float, float], d: int = 1, batch: int = 1, seconds: Curve | None = None) -> Trajectory:
    curves = {METRIC: curve(*points)} if points else {}
    return Trajectory("0", curves | ({SECONDS: seconds} if seconds else {}), d, batch)


def views(**rows: list[Trajectory]) -> dict[tuple[str, float], View]:
    return {(view.axis, view.share): view for view in views_at_equal_effort(rows, METRIC)}


def mean(view: View, label: str) -> float:
    found = view.estimates[label]
    assert found is not None
    return found.mean


def test_each_axis_has_a_budget_of_its_own() -> None:
    one = run((0, 999.0), (20, 90.0), (100, 50.0), batch=64)  # at 0 it is not trained: that is no part of a line
    other = run((0, 999.0), (50, 70.0), (200, 40.0), d=5, batch=32)
    found = views(one=[one], other=[other])
    budgets = {axis: found[axis, 1.0].budget for axis in AXES if (axis, 1.0) in found}
    assert budgets == {"generator_updates": 40.0, "discriminator_updates": 100.0, "images": 6400.0}
    assert mean(found["generator_updates", 1.0], "one") == pytest.approx(80.0, rel=1e-12)  # 40 of 100 updates
    assert mean(found["generator_updates", 1.0], "other") == 40.0
    assert mean(found["discriminator_updates", 1.0], "other") == 60.0
    assert mean(found["images", 1.0], "other") == 40.0  # 200 steps of 32
    assert mean(found["images", 0.5], "other") == 60.0
    assert found["images", 0.5].budget == 3200.0


def test_the_slowest_run_of_any_row_limits_it() -> None:
    found = views(a=[run((15, 2.5), (90, 10.0)), run((10, 2.0), (30, 4.0))], b=[run((20, 9.0), (60, 13.0))])
    view = found["discriminator_updates", 1.0]
    assert view.budget == 30.0
    assert view.estimates == {"a": Estimate(4.0, 0.0, 2), "b": Estimate(10.0, None, 1)}
    assert view.missing == {}


def test_seconds_come_from_the_run_s_own_clock() -> None:
    clock = curve((0, 0.0), (10, 100.0), (20, 400.0))  # it became slower
    fast = curve((0, 0.0), (20, 20.0))
    found = views(
        a=[run((1, 9.0), (10, 5.0), (20, 1.0), seconds=clock)], b=[run((1, 9.0), (10, 5.0), (20, 1.0), seconds=fast)]
    )
    view = found["seconds", 1.0]
    assert view.budget == 20.0
    assert mean(view, "a") == pytest.approx(9.0 - 4.0 * (20 - 10) / (100 - 10), rel=1e-12)
    assert mean(view, "b") == 1.0


def test_a_clock_that_ends_early_limits_the_budget_and_one_that_runs_backwards_is_none() -> None:
    early = run((0, 9.0), (10, 5.0), (20, 1.0), seconds=curve((0, 0.0), (15, 15.0)))
    backwards = run((0, 9.0), (10, 5.0), (20, 1.0), seconds=curve((0, 0.0), (10, 12.0), (20, 11.0)))
    view = views(early=[early], backwards=[backwards], none=[run((0, 1.0), (20, 2.0))])["seconds", 1.0]
    assert view.budget == 10.0  # the second measurement: when the third one was is not known
    assert mean(view, "early") == 5.0
    assert view.estimates["backwards"] is view.estimates["none"] is None
    assert view.missing == dict.fromkeys(("backwards", "none"), f"its {METRIC} is not known by seconds")


def test_rows_without_a_curve_neither_count_nor_limit() -> None:
    found = views(a=[run((20, 4.0), (40, 6.0)), run()], b=[], c=[run()], d=[run((0, 2.0))])
    for view in found.values():
        assert view.estimates["a"] is not None
        assert view.estimates["b"] is view.estimates["c"] is view.estimates["d"] is None
    view = found["images", 1.0]
    assert view.budget == 40.0
    assert view.missing == dict.fromkeys("bcd", f"it has no {METRIC} of a trained generator")


def test_nothing_is_said_about_before_the_first_measurement() -> None:
    found = views(early=[run((0, 9.0), (10, 3.0), (40, 6.0))], late=[run((30, 3.0), (50, 5.0))])
    assert mean(found["discriminator_updates", 1.0], "late") == pytest.approx(4.0, rel=1e-12)
    half = found["discriminator_updates", 0.5]
    assert half.estimates == {"early": Estimate(4.0, None, 1), "late": None}
    assert half.missing == {"late": "its first measurement was at 30"}


def test_one_point_and_points_that_are_not_finite() -> None:
    found = views(a=[run((40, 6.0))], b=[run((0, 9.0), (10, 1.5), (20, math.nan), (40, 3.0), (60, math.inf))])
    assert found["images", 1.0].budget == 40.0
    assert found["images", 1.0].estimates == {"a": Estimate(6.0, None, 1), "b": Estimate(3.0, None, 1)}
    assert found["images", 0.5].estimates == {"a": None, "b": Estimate(2.0, None, 1)}


def test_curves_of_one_length_end_in_their_last_values() -> None:
    rows = {name: [run((0, 9.0), (70, value), d=3, batch=7)] for name, value in {"a": 1.5, "b": 2.5}.items()}
    for view in views_at_equal_effort(rows, METRIC):
        if view.share == 1.0:
            assert (mean(view, "a"), mean(view, "b")) == (1.5, 2.5)


def test_no_curve_at_all_is_no_view() -> None:
    assert views_at_equal_effort({}, METRIC) == ()
    assert views_at_equal_effort({"a": [run()], "b": [run((0, 3.0))]}, METRIC) == ()


def test_no_value_is_extrapolated() -> None:
    points = curve((10, 1.0), (20, 3.0))
    assert [value_at(points, amount) for amount in (9.999, 10, 12.5, 20, 20.001)] == [None, 1.0, 1.5, 3.0, None]


POINTS = st.lists(
    st.tuples(st.integers(0, 10**6), st.floats(-1e6, 1e6)), min_size=1, max_size=8, unique_by=lambda point: point[0]
).map(sorted)


@given(POINTS, st.floats(-1, 2e6))
def test_a_value_lies_between_its_neighbours(points: list[tuple[float, float]], amount: float) -> None:
    found = value_at(curve(*points), amount)
    before = [value for step, value in points if step <= amount]
    after = [value for step, value in points if step >= amount]
    if not before or not after:
        assert found is None
    else:
        low, high = sorted((before[-1], after[0]))
        assert found is not None
        assert low <= found <= high or math.isclose(found, low) or math.isclose(found, high)


@given(POINTS)
def test_measured_values_are_kept(points: list[tuple[float, float]]) -> None:
    assert [value_at(curve(*points), step) for step, _ in points] == [value for _, value in points]


@given(st.lists(st.tuples(POINTS, st.integers(1, 7), st.integers(1, 512)), min_size=1, max_size=4))
def test_a_budget_is_within_what_all_runs_reached(drawn: list[tuple[list[tuple[float, float]], int, int]]) -> None:
    rows = {str(n): [run(*points, d=d, batch=batch)] for n, (points, d, batch) in enumerate(drawn)}
    started = {label: runs for label, runs in rows.items() if runs[0].curves[METRIC].steps[-1] > 0}
    found = views_at_equal_effort(rows, METRIC)
    assert len(found) == (3 * len(SHARES) if started else 0)
    for view in found:
        (each,) = zip(*started.values(), strict=True)
        ends = [AXES[view.axis].of(one, one.curves[METRIC].steps[-1:]) for one in each]
        assert view.budget == view.share * min(float(end[0]) for end in ends if end is not None)
        assert {label for label, value in view.estimates.items() if value is None} == view.missing.keys()
        if view.share == 1.0:
            limiting = [label for label in started if view.estimates[label] is not None]
            assert limiting
