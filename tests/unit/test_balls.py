"""benchmarks/balls.py: its precision is the pipeline's, and one outlier's ball is told from a manifold."""

import numpy as np
import pytest

from benchmarks.balls import balls_of, row_of
from pipeline.metrics.manifold import manifold


def gaussian(num: int, seed: int, spread: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(num, 8)) * spread).astype(np.float32)


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_precision_is_the_pipelines(spread: float) -> None:
    real, fake = gaussian(400, 0), gaussian(300, 1, spread)
    found = balls_of(real, fake).precision()
    assert found == pytest.approx(manifold(real, fake).precision.value, abs=1e-9)
    assert 0 < found < 1


def test_all_of_it_rests_on_one_outlier() -> None:
    real = np.concatenate([gaussian(399, 0), np.full((1, 8), 20, np.float32)])
    fake = np.float32(22) + gaussian(50, 1, 0.1)  # noise beside the outlier, far from all else
    assert manifold(real, fake).precision.value == 1
    assert row_of(balls_of(real, fake)) == {
        "precision": "1.000",
        "balls of 400 that hold any": 1,
        "share in the fullest": "1.000",
        "its place among the widest": 1,
        "precision without the 4 widest": "0.000",
    }


def test_no_ball_is_the_fullest_of_none() -> None:
    row = row_of(balls_of(gaussian(100, 0), np.float32(1000) + gaussian(10, 1)))
    assert (row["precision"], row["balls of 100 that hold any"], row["its place among the widest"]) == ("0.000", 0, "-")
