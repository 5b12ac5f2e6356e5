import math

import numpy as np
import pytest

from pipeline.metrics import distances
from pipeline.metrics.distances import frechet_bootstrap, frechet_distance, frechet_infinity
from tests.unit.metrics.test_distances import correlated, gaussian


def test_frechet_bootstrap_is_the_spread_over_sets_of_rows_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BLOCK_ROWS", 16)
    real, fake = correlated(90, 12, seed=0).astype(np.float32), correlated(70, 12, seed=1).astype(np.float32)
    generator = np.random.default_rng(3)
    drawn = [np.repeat(real, generator.multinomial(90, np.full(90, 1 / 90)), axis=0) for _ in range(8)]
    expected = np.std([frechet_distance(features, fake) for features in drawn], ddof=1)
    assert frechet_bootstrap(real, fake, num_resamples=8, seed=3) == pytest.approx(expected, rel=1e-7)


def test_frechet_bootstrap_is_the_spread_over_independent_real_sets() -> None:
    generator = np.random.default_rng(0)
    fake = gaussian(np.full(8, 0.5), np.diag(np.linspace(0.5, 2, 8)), num=500)
    draws = generator.normal(size=(200, 400, 8))
    true = np.std([frechet_distance(real, fake) for real in draws])
    estimates = [frechet_bootstrap(real, fake, num_resamples=50) for real in draws[:10]]
    assert np.mean(estimates) == pytest.approx(true, rel=0.15)


@pytest.mark.parametrize("steepness", [0, 1])
def test_frechet_infinity_is_nearer_the_truth_than_the_distance_itself(steepness: float) -> None:
    dimension = 16
    variances = np.arange(1, dimension + 1) ** -float(steepness)
    shift = 0.1 * np.sqrt(variances)
    real = gaussian(np.zeros(dimension), np.diag(variances))
    true = float(np.square(shift).sum() + (variances * (1 - 0.8) ** 2).sum())
    plain, extrapolated, errors = [], [], []
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(size=(dimension * 10, dimension))
        fake = noise * np.sqrt(variances) * 0.8 + shift
        estimate = frechet_infinity(real, fake, seed=seed)
        assert estimate is not None
        plain.append(frechet_distance(real, fake) - true)
        extrapolated.append(estimate.value - true)
        errors.append(estimate.error or math.nan)
    uncertainty = np.std(extrapolated) / np.sqrt(30)
    assert abs(np.mean(extrapolated)) < 4 * uncertainty < 0.5 * np.mean(plain)
    assert 0.3 < np.mean(errors) / np.std(extrapolated) < 1.5


def test_frechet_infinity_needs_four_images_per_feature() -> None:
    real, fake = correlated(100, 8, seed=0), correlated(32, 8, seed=1)
    assert frechet_infinity(real, fake) is not None
    assert frechet_infinity(real, fake[:31]) is None


def test_line_at_zero_and_its_error() -> None:
    assert distances._intercept(np.array([1.0, 2, 3]), np.array([5.0, 7, 9])).value == pytest.approx(3)
    x, noise = np.linspace(1, 2, 6), np.random.default_rng(0).normal(size=(4000, 6))
    fits = [distances._intercept(x, 3 + 2 * x + row) for row in noise]
    assert np.mean([fit.value for fit in fits]) == pytest.approx(3, abs=0.15)
    spread = np.std([fit.value for fit in fits])
    assert np.sqrt(np.mean([(fit.error or math.nan) ** 2 for fit in fits])) == pytest.approx(spread, rel=0.05)
