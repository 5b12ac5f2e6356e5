import numpy as np
import pytest

from pipeline.metrics import measures
from pipeline.metrics.distances import Estimate, frechet_distance, kernel_distance
from pipeline.metrics.extractors import Features
from pipeline.metrics.measures import METRICS, Metric, Sets, flags, measure, methods
from pipeline.metrics.names import KINDS


def features(num: int, seed: int, dimension: int = 3) -> Features:
    return np.random.default_rng(seed).normal(size=(num, dimension)).astype(np.float32)


def test_every_number_has_a_method_and_an_entry_in_kinds() -> None:
    assert methods().keys() == KINDS.keys()
    sets = Sets(features(40, 0), features(40, 1), features(20, 2), features(40, 3, dimension=5))
    assert measure(sets).keys() == KINDS.keys()


def test_numbers_are_those_of_the_functions() -> None:
    sets = Sets(features(30, 0), features(20, 1))
    found = measure(sets)
    distance = kernel_distance(sets.real, sets.fake)
    assert found["fd"].value == frechet_distance(sets.real, sets.fake)
    assert found["kd"] == Estimate(distance.mean, distance.std)


def test_what_the_sets_do_not_allow_is_left_out() -> None:
    few = measure(Sets(features(4, 0, dimension=8), features(4, 1, dimension=8)))
    assert few.keys() == {"fd", "kd", "authentic"}
    assert few["kd"].error is None  # one set of all images has no spread


def test_all_errors_are_positive_and_shrink_with_the_number_of_images() -> None:
    small, large = (
        measure(Sets(features(num, 0), features(num, 1) + 0.5, features(num, 2), features(num, 3))) for num in (60, 960)
    )
    for kind in methods().keys() - {"kd", "is"}:  # these two have spreads over subsets and splits
        errors = small[kind].error, large[kind].error
        assert errors[0] is not None
        assert errors[1] is not None
        assert 0 < errors[1] < 0.6 * errors[0], kind


@pytest.mark.parametrize(("spread", "raised"), [(1.0, ()), (0.5, ()), (0.28, ("collapsed",)), (0.0, ("collapsed",))])
def test_a_collapsed_set_is_flagged(spread: float, raised: tuple[str, ...]) -> None:
    """The limit is a tenth of the variance, which is 0.316 of the deviation."""
    assert flags(Sets(features(400, 0, 200), spread * features(300, 1, 200) + 5)) == raised


def test_a_constant_set_has_finite_numbers() -> None:
    found = measure(Sets(features(50, 0), np.ones((40, 3), np.float32)))
    assert all(np.isfinite(each.value) for each in found.values())
    assert found["recall"].value == 0


def test_a_further_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure_shift(sets: Sets) -> dict[str, Estimate]:
        return {"shift": Estimate(float(np.abs(sets.real.mean(0) - sets.fake.mean(0)).max()), None)}

    monkeypatch.setattr(measures, "METRICS", {**METRICS, "shift": Metric({"shift": "largest"}, measure_shift)})
    sets = Sets(features(9, 0), features(9, 0) + 2)
    assert measure(sets)["shift"].value == pytest.approx(2, rel=1e-5)
    assert methods()["shift"] == "largest"
