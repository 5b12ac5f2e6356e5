import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gan.health import flags
from gan.thresholds import LOW_DIVERSITY
from pipeline.reporting.curves import Curve, Trajectory
from pipeline.reporting.numbers import Estimate
from pipeline.reporting.stability import DIVERSITY, MEASURES, RESOLUTION, Stability, stability

FD = "curve/fd_x"


def run(*distances: float, first: int = 1, diversity: dict[int, float] | None = None) -> Trajectory:
    curves = (
        {FD: Curve(first + np.arange(len(distances), dtype=float), np.array(distances, float))} if distances else {}
    )
    if diversity is not None:
        curves[DIVERSITY] = Curve(np.array(list(diversity), float), np.array(list(diversity.values()), float))
    return Trajectory("0", curves)


def of(name: str, trajectory: Trajectory) -> float | None:
    return MEASURES[name].of(trajectory, FD)


@pytest.mark.parametrize(
    ("distances", "rise", "to_best", "removed"),
    [
        ((100.0, 50.0, 25.0), 0.0, 1.0, 0.75),
        ((100.0, 50.0, 75.0, 60.0), 0.5, 1.2, 0.5),
        ((100.0, 10.0, 30.0, 80.0), 2.0, 8.0, 0.9),  # 10 to 30, although 30 to 80 is more
        ((10.0, 20.0, 50.0, 80.0), 1.5, 8.0, 0.0),  # it only became worse
        ((40.0, 40.0), 0.0, 1.0, 0.0),
        ((40.0, math.nan, 50.0, math.inf), 0.25, 1.25, 0.0),  # across what is not finite
    ],
)
def test_closed_form(distances: tuple[float, ...], rise: float, to_best: float, removed: float) -> None:
    found = [of(name, run(*distances)) for name in ("worst_rise", "last_to_best", "progress")]
    assert found == pytest.approx([rise, to_best, removed], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("distances", [(), (5.0,), (5.0, math.nan), (math.inf, math.nan)])
def test_one_evaluation_is_no_course(distances: tuple[float, ...]) -> None:
    assert [of(name, run(*distances)) for name in ("worst_rise", "last_to_best", "progress")] == [None] * 3


def test_distances_of_about_nothing() -> None:
    assert [of(name, run(0.0, 0.0)) for name in ("worst_rise", "last_to_best", "progress")] == [0.0, 1.0, 0.0]
    assert [of(name, run(-1e-9, -2e-9)) for name in ("worst_rise", "last_to_best", "progress")] == [0.0, 1.0, 0.0]
    assert of("worst_rise", run(100.0, 1e-9, 1e-7)) == 0.0  # both are below the resolution
    assert of("worst_rise", run(100.0, 0.0, 10.0)) == pytest.approx(99.0, rel=1e-12)
    assert of("progress", run(100.0, -1e-9)) == pytest.approx(1 - RESOLUTION, rel=1e-12)


def test_the_untrained_generator_is_no_part_of_a_course_but_its_start() -> None:
    rising, falling = run(272.0, 369.0, 300.0, 130.0, first=0), run(369.0, 300.0, 130.0)
    for name in ("worst_rise", "last_to_best"):
        assert of(name, rising) == of(name, falling)
    assert of("progress", rising) == pytest.approx(1 - 130 / 272, rel=1e-12)
    assert [of(name, run(9.0, 5.0, first=0)) for name in ("worst_rise", "last_to_best")] == [None, None]


def test_collapsed_share_leaves_the_beginning_out() -> None:
    assert of("collapsed_share", run(diversity={0: 0.01, 1: 0.5, 2: 0.09, 3: 0.5, 4: 0.5})) == 0.25
    assert of("collapsed_share", run(diversity={0: 0.01, 1: 0.02, 2: 0.03, 3: 0.5, 4: 0.5})) == 0.0
    assert of("collapsed_share", run(diversity={0: 0.5, 1: 0.02, 2: 0.5, 3: 0.03})) == 0.5
    assert of("collapsed_share", run(diversity={1: 0.02, 2: 0.03})) == 1.0
    assert of("collapsed_share", run(diversity={0: 0.01, 1: 0.5})) == 0.0
    assert of("collapsed_share", run(diversity={0: 0.01})) is None
    assert of("collapsed_share", run(1.0, 2.0)) is None
    assert of("collapsed_share", run(diversity={1: math.nan, 2: 0.0})) == 1.0


@pytest.mark.parametrize("value", [LOW_DIVERSITY, math.nextafter(LOW_DIVERSITY, 0.0)])
def test_the_threshold_is_that_of_the_flag(value: float) -> None:
    collapsed = of("collapsed_share", run(diversity={1: value})) == 1.0
    assert collapsed == (flags({DIVERSITY: value}) == ["low diversity"]) == (value < LOW_DIVERSITY)


def test_rows_are_over_seeds() -> None:
    rows = {
        "a": [run(100.0, 50.0, 75.0, diversity={1: 0.0}), run(100.0, 50.0, 50.0), run(40.0)],
        "b": [run(40.0)],
        "c": [],
    }
    found = stability(rows, FD)
    assert list(found) == ["a", "b", "c"]
    assert found["a"].estimates["worst_rise"] == Estimate(0.25, math.sqrt(0.125), 2)
    assert found["a"].estimates["collapsed_share"] == Estimate(1.0, None, 1)
    assert found["a"].largest == {"worst_rise": 0.5, "collapsed_share": 1.0, "last_to_best": 1.5, "progress": 0.5}
    assert [found["b"], found["c"]] == [Stability({}, {})] * 2


DISTANCES = st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=8)


@given(DISTANCES)
def test_ranges(distances: list[float]) -> None:
    rise, to_best, removed = (of(name, run(*distances)) for name in ("worst_rise", "last_to_best", "progress"))
    assert rise is not None
    assert to_best is not None
    assert removed is not None
    assert (rise == 0.0) == (sorted(distances, reverse=True) == distances) or max(distances) * RESOLUTION > min(
        distances
    )
    assert 1.0 <= to_best <= 1.001 / RESOLUTION
    assert 0.0 <= removed < 1.0
    assert rise <= 1.001 / RESOLUTION


@given(DISTANCES, st.floats(0.01, 100))
def test_units_do_not_matter(distances: list[float], scale: float) -> None:
    for name in ("worst_rise", "last_to_best", "progress"):
        scaled = of(name, run(*(scale * value for value in distances)))
        assert scaled == pytest.approx(of(name, run(*distances)), rel=1e-9, abs=1e-9)


@given(DISTANCES)
def test_a_training_that_goes_on_at_its_best_is_as_steady(distances: list[float]) -> None:
    longer = run(*distances, min(distances))
    assert of("worst_rise", longer) == of("worst_rise", run(*distances))
    assert of("last_to_best", longer) == 1.0
    assert of("progress", longer) == of("progress", run(*distances))


def test_reading_curves_does_not_load_torch() -> None:
    code = (
        "import sys, pipeline.reporting.claims, pipeline.reporting.budgets, pipeline.reporting.stability; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'mlflow')))"
    )
    source = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=source, check=False).returncode == 0
