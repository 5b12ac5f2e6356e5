import math
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.numbers import Estimate, decimals_of, estimate, write_count, write_estimate, write_seconds


def test_spread_is_the_sample_standard_deviation() -> None:
    assert estimate([10.0, 12.0]) == Estimate(11.0, math.sqrt(2.0), 2)
    assert estimate([1.0, 2.0, 3.0, 4.0]).spread == pytest.approx(math.sqrt(5 / 3), rel=1e-12)


def test_one_seed_has_no_spread() -> None:
    assert estimate([10.0]) == Estimate(10.0, None, 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_makes_no_number(bad: float) -> None:
    assert write_estimate(estimate([1.0, bad]), 1) == "nan"


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6))
def test_estimates_are_the_library_s(values: list[float]) -> None:
    found = estimate(values)
    assert min(values) <= found.mean <= max(values) or math.isclose(found.mean, values[0])
    assert found.spread == stdev(values)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (Estimate(10, 1, 2), Estimate(13, 1, 2), False),
        (Estimate(10, 1, 2), Estimate(12, 1, 2), True),  # they touch
        (Estimate(10, 1, 2), Estimate(10, 0, 2), True),
        (Estimate(10, 0, 2), Estimate(11, 0, 2), False),
        (Estimate(10, None, 1), Estimate(99, 1, 2), None),
    ],
)
def test_overlap(one: Estimate, other: Estimate, overlap: bool | None) -> None:
    assert one.overlaps(other) is overlap
    assert other.overlaps(one) is overlap


@pytest.mark.parametrize(
    ("values", "decimals"),
    [([250.1, 12.0], 1), ([51.3], 1), ([5.13], 2), ([0.513], 3), ([12345.0], 1), ([], 2), ([0.0], 2), ([1e-9], 6)],
)
def test_three_significant_digits_of_the_largest(values: list[float], decimals: int) -> None:
    assert decimals_of(values) == decimals


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Estimate(12.34, 0.44, 2), "12.3 ± 0.4"),
        (Estimate(12.345, 0.004, 2), "12.345 ± 0.004"),  # a spread that is there is not written as 0.0
        (Estimate(12.3, 0.0, 2), "12.3 ± 0.0"),
        (Estimate(12.3, None, 1), "12.3"),
        (Estimate(0.032, None, 1), "0.03"),
        (Estimate(-1e-9, None, 1), "0.0000"),
        (Estimate(0.0, None, 1), "0.0"),
        (Estimate(-1.0, None, 1), "-1.0"),
    ],
)
def test_written_estimates(value: Estimate, text: str) -> None:
    assert write_estimate(value, 1) == text


def test_counts_and_seconds() -> None:
    assert (write_count(5142083.0), write_count(None), write_count(math.nan)) == ("5,142,083", "-", "-")
    assert (write_seconds(12.34), write_seconds(1234.5), write_seconds(None)) == ("12.3", "1,234", "-")
