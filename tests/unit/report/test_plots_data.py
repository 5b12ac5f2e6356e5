import math
from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.reporting.curves import AXES, Trajectory
from pipeline.reporting.plots_data import MOST_PLACES, MOST_POINTS, Line, Panel, Points, band, limits, line, thinned
from tests.unit.report.test_plots import FD, curve, run


def points(x: Sequence[float], y: Sequence[float]) -> Points:
    return Points(np.array(x, float), np.array(y, float))


def panel(*values: Sequence[float], log_from: float = 10.0, floor: float | None = None) -> Panel:
    seeds = [points(range(len(each)), each) for each in values]
    return Panel("t", "x", [Line("a", 0, seeds, band(seeds))], log_from, floor)


def test_a_band_is_mean_and_sample_standard_deviation() -> None:
    found = band([points([0, 2, 4], [1, 3, 5]), points([0, 2, 4], [2, 7, 5]), points([0, 2, 4], [6, 2, 5])])
    assert found is not None
    assert found.spread is not None
    assert found.x.tolist() == [0, 2, 4]
    assert found.mean.tolist() == [3, 4, 5]
    np.testing.assert_allclose(found.spread, [math.sqrt(7), math.sqrt(7), 0], rtol=1e-12)


def test_seeds_are_interpolated_where_all_of_them_have_values() -> None:
    found = band([points([0, 4, 8], [0, 4, 0]), points([2, 6], [10, 30])])
    assert found is not None
    assert found.spread is not None
    assert found.x.tolist() == [2, 4, 6]
    assert found.mean.tolist() == [6, 12, 16]
    np.testing.assert_allclose(found.spread, np.array([8, 16, 28]) / math.sqrt(2), rtol=1e-12)


def test_one_seed_has_no_spread_and_seeds_apart_no_mean() -> None:
    alone = band([points([3], [7])])
    assert alone is not None
    assert (alone.x.tolist(), alone.mean.tolist(), alone.spread) == ([3], [7], None)
    assert band([points([0, 1], [1, 1]), points([2, 3], [1, 1])]) is None


def test_a_band_stands_on_so_many_places_at_most() -> None:
    found = band([points([shift + i for i in range(400)], range(400)) for shift in (0.0, 0.5)])
    assert found is not None
    assert len(found.x) == MOST_PLACES
    assert (found.x[0], found.x[-1]) == (0.5, 399.0)
    np.testing.assert_allclose(found.mean, found.x - 0.25)


def test_long_curves_are_means_of_neighbours() -> None:
    found = thinned(points(range(5), [1, 3, 5, 7, 100]), most=3)
    assert (found.x.tolist(), found.y.tolist()) == ([0.5, 2.5, 4], [2, 6, 100])
    short = points([1, 2], [3, 4])
    assert thinned(short, most=2).y.tolist() == [3, 4]
    long = line("a", 0, [run(range(500), range(500))], FD, AXES["discriminator_updates"])
    assert long is not None
    assert len(long.seeds[0].x) == MOST_POINTS
    assert not long.marked


@pytest.mark.parametrize(
    ("axis", "x"),
    [
        ("generator_updates", [2, 4]),
        ("discriminator_updates", [10, 20]),
        ("images", [640, 1280]),
        ("seconds", [100, 200]),
    ],
)
def test_x_is_what_the_axis_says(axis: str, x: list[float]) -> None:
    found = line("a", 0, [run([10, 20], [1, 2], every=5, batch=64)], FD, AXES[axis], scale=10)
    assert found is not None
    assert (found.seeds[0].x.tolist(), found.seeds[0].y.tolist()) == (x, [10, 20])


def test_points_that_are_not_finite_are_left_out() -> None:
    found = line("a", 0, [run([1, 2, 3], [5, math.nan, math.inf])], FD, AXES["images"])
    assert found is not None
    assert found.seeds[0].x.tolist() == [1]
    assert line("a", 0, [run([1, 2], [math.nan, math.inf])], FD, AXES["images"]) is None


def test_points_whose_time_is_not_known_are_left_out() -> None:
    metrics = {FD: curve([1, 2, 3, 4], [1, 2, 3, 4]), "time/seconds": curve([2, 3], [20, 30])}
    found = line("a", 0, [Trajectory("0", metrics)], FD, AXES["seconds"])
    assert found is not None
    assert (found.seeds[0].x.tolist(), found.seeds[0].y.tolist()) == ([20, 30], [2, 3])
    assert line("a", 0, [Trajectory("0", {FD: curve([1], [1])})], FD, AXES["seconds"]) is None


@pytest.mark.parametrize(
    ("one", "log"),
    [
        (panel([1, 11]), True),
        (panel([1, 9]), False),
        (panel([1, 9], floor=0.5), True),
        (panel([1, 9], floor=0.009), False),  # noise around 0: it decides nothing
        (panel([1, 11], floor=-0.001), False),
        (panel([-1, 1, 100]), False),
        (panel([0, 1, 11]), True),
        (panel([0, 0]), False),
        (panel([1, 4], log_from=3.0), True),
        (panel([1, 1e9], log_from=math.inf), False),
    ],
)
def test_y_is_logarithmic_over_more_than_a_decade(one: Panel, log: bool) -> None:
    assert limits(one).log is log


def test_limits_hold_runs_band_and_floor() -> None:
    found = limits(panel([5, 6], [7, 6], floor=2.0))
    assert found.num_outside == 0
    assert found.low == pytest.approx(2 - 0.05 * (6 + math.sqrt(2) - 2))
    assert found.high == pytest.approx(6 + math.sqrt(2) + 0.05 * (6 + math.sqrt(2) - 2))
    without_floor = limits(panel([5, 6], [7, 6]))
    assert without_floor.low == pytest.approx(6 - 1.1 * math.sqrt(2))
    below_zero = limits(panel([5, 6], floor=-4.0))
    assert [below_zero.low, below_zero.high] == pytest.approx([-4.5, 6.5])
    logarithmic = limits(panel([0, 1, 100]))
    assert [logarithmic.low, logarithmic.high] == pytest.approx([10**-0.1, 10**2.1])
    assert logarithmic.num_outside == 1  # 0 has no logarithm
    flat = limits(panel([0, 0]))
    assert flat.low < 0 < flat.high


def test_few_values_far_out_do_not_flatten_the_others() -> None:
    found = limits(panel([*range(98), 1e9, -1e9], log_from=math.inf))
    assert [found.low, found.high, found.num_outside] == pytest.approx([-4.85, 101.85, 2])
    one_side = limits(panel([*range(99), 1e9], log_from=math.inf))
    assert [one_side.low, one_side.high, one_side.num_outside] == pytest.approx([-4.9, 102.9, 1])
    assert limits(panel([*range(5), 1e9], log_from=math.inf)).num_outside == 0  # too few to say what is far out
