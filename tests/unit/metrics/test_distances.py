import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance
from torch_fidelity import metric_fid, metric_kid
from torchmetrics.image.fid import _compute_fid

from gan.errors import UserError
from pipeline.metrics import distances
from pipeline.metrics.distances import (
    frechet_bootstrap,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    squared_mmd,
)

Array = NDArray[np.float64]


def gaussian(mean: Array, covariance: Array, num: int = 200, seed: int = 0) -> Array:
    """A sample [num, D] whose mean and unbiased covariance are exactly the given ones."""
    noise = np.random.default_rng(seed).normal(size=(num, len(mean)))
    orthonormal, _ = np.linalg.qr(noise - noise.mean(axis=0))
    sample: Array = orthonormal * np.sqrt(num - 1) @ np.linalg.cholesky(covariance).T + mean
    return sample


def correlated(num: int, dimension: int, seed: int) -> Array:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(dimension, dimension)) * np.geomspace(1, 1e-3, dimension)
    sample: Array = generator.normal(size=(num, dimension)) @ mixing + generator.normal(size=dimension)
    return sample


def test_frechet_of_a_shifted_mean_is_the_squared_shift() -> None:
    identity = np.eye(3)
    distance = frechet_distance(gaussian(np.zeros(3), identity), gaussian(np.array([1.0, -2, 2]), identity, seed=1))
    assert distance == pytest.approx(9, rel=1e-9)


def test_frechet_of_isotropic_gaussians_is_the_squared_difference_of_their_deviations() -> None:
    distance = frechet_distance(
        gaussian(np.zeros(5), 4 * np.eye(5)), gaussian(np.zeros(5), 25 * np.eye(5), num=77, seed=1)
    )
    assert distance == pytest.approx(5 * (5 - 2) ** 2, rel=1e-9)


def test_frechet_of_covariances_that_do_not_commute() -> None:
    first, second = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.7], [-0.7, 3.0]])
    product = first @ second  # 2x2: tr(sqrt(P))^2 = tr(P) + 2 sqrt(det(P))
    expected = 5 + np.trace(first + second) - 2 * np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    distance = frechet_distance(gaussian(np.zeros(2), first), gaussian(np.array([1.0, 2.0]), second, seed=1))
    assert distance == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num", [20, 300], ids=["fewer images than features", "more"])
def test_frechet_of_a_set_and_itself_in_another_order_is_zero(num: int) -> None:
    features = correlated(num, 64, seed=0)
    distance = frechet_distance(features, features[::-1])
    assert 0 <= distance < 1e-6 * features.var(axis=0).sum()


@given(num_real=st.integers(2, 40), num_fake=st.integers(2, 40), dimension=st.integers(1, 24), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_frechet_is_symmetric_finite_not_negative_and_blind_to_order(
    num_real: int, num_fake: int, dimension: int, seed: int
) -> None:
    real, fake = correlated(num_real, dimension, seed), correlated(num_fake, dimension, seed + 1)
    distance = frechet_distance(real, fake)
    assert np.isfinite(distance)
    assert distance >= 0
    assert frechet_distance(fake, real) == pytest.approx(distance, rel=1e-6, abs=1e-9)
    shuffled = np.random.default_rng(seed).permutation(num_real)
    assert frechet_distance(real[shuffled], fake) == pytest.approx(distance, rel=1e-6, abs=1e-9)


def test_frechet_of_a_collapsed_generator_is_the_spread_and_shift_of_the_real_images() -> None:
    real = gaussian(np.zeros(4), np.diag([1.0, 2, 3, 4]))
    collapsed = np.full((50, 4), 2.0)
    assert frechet_distance(real, collapsed) == pytest.approx(4 * 4 + 10, rel=1e-9)
    assert frechet_distance(collapsed, collapsed) == 0


@pytest.fixture(params=[60, 400], ids=["fewer images than features", "more"])
def sets(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    return correlated(request.param, 96, seed=0), correlated(request.param + 30, 96, seed=1)


def moments(sets: tuple[Array, Array]) -> list[Array]:
    """Mean and covariance of the first set, then of the second."""
    return [moment for features in sets for moment in (features.mean(axis=0), np.cov(features, rowvar=False))]


def test_frechet_agrees_with_torch_fidelity(sets: tuple[Array, Array]) -> None:
    statistics = [metric_fid.fid_features_to_statistics(torch.from_numpy(features)) for features in sets]
    peer = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)[metric_fid.KEY_METRIC_FID]
    assert frechet_distance(*sets) == pytest.approx(peer, rel=1e-6)


def test_frechet_agrees_with_torchmetrics(sets: tuple[Array, Array]) -> None:
    peer = _compute_fid(*(torch.from_numpy(moment) for moment in moments(sets)))
    assert frechet_distance(*sets) == pytest.approx(float(peer), rel=1e-4)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
def test_frechet_agrees_with_pytorch_fid(sets: tuple[Array, Array]) -> None:
    try:
        peer = calculate_frechet_distance(*moments(sets))
    except TypeError:
        pytest.skip("pytorch-fid 0.3.0 calls scipy.linalg.sqrtm(disp=), which SciPy 1.18 removes")
    assert frechet_distance(*sets) == pytest.approx(float(peer), rel=1e-4)


def test_frechet_block_by_block_is_the_same(sets: tuple[Array, Array], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = frechet_distance(*sets)
    monkeypatch.setattr(distances, "BLOCK_ROWS", 7)
    assert frechet_distance(*sets) == pytest.approx(whole, rel=1e-10)


def test_frechet_loses_no_digits_to_a_far_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BLOCK_ROWS", 32)
    generator = np.random.default_rng(0)
    real, fake = (generator.integers(-64, 64, size=(150, 6)) / 64 for _ in range(2))  # exact, also after the shift
    far = [(features + 2**17).astype(np.float32) for features in (real, fake)]
    assert frechet_distance(far[0], far[1]) == pytest.approx(frechet_distance(real, fake), rel=1e-9)


@pytest.mark.parametrize("steepness", [0, 1, 2])
def test_frechet_by_cholesky_is_that_by_eigenvectors(steepness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scales = np.arange(1, 49) ** -float(steepness)
    real, fake = np.random.default_rng(0).normal(size=(2, 300, 48)) * scales
    fast = frechet_distance(real, fake)
    spread = real.var(axis=0).sum() + fake.var(axis=0).sum()

    def refuse(matrix: Array) -> Array:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "cholesky", refuse)
    assert fast == pytest.approx(frechet_distance(real, fake), abs=1e-9 * spread)


def test_frechet_whichever_set_is_factorised() -> None:
    few, many = distances._fit(correlated(20, 64, seed=0)), distances._fit(correlated(200, 64, seed=1))
    expected = distances._distance(few, distances._factor(few), many)
    assert distances._distance(many, distances._factor(many), few) == pytest.approx(expected, rel=1e-12)


def test_frechet_with_constant_features_needs_no_eigenvectors(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = np.random.default_rng(0).normal(size=(2, 300, 8))
    constant = [np.insert(features, [0, 5], 2, axis=1) for features in (real, fake)]
    expected = frechet_distance(real, fake)
    monkeypatch.setattr(np.linalg, "eigh", None)
    assert frechet_distance(*constant) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("noise", [0, 1e-7], ids=["exactly", "nearly"])
def test_frechet_with_features_that_say_the_same(noise: float) -> None:
    real, fake = np.random.default_rng(0).normal(size=(2, 500, 64))
    jitter = noise * np.random.default_rng(1).normal(size=(500, 64))
    doubled = [np.hstack([features, features + jitter]) for features in (real, fake)]
    assert frechet_distance(*doubled) == pytest.approx(2 * frechet_distance(real, fake), rel=2e-8)


def test_kernel_distance_of_constant_sets_in_closed_form() -> None:
    real, fake = np.full((9, 2), 1.0), np.full((7, 2), 3.0)
    # k(a, a) = (1 + 1)^3, k(b, b) = (9 + 1)^3, k(a, b) = (3 + 1)^3
    assert squared_mmd(real, fake) == pytest.approx(8 + 1000 - 2 * 64, rel=1e-12)


def test_kernel_distance_is_unbiased() -> None:
    generator = np.random.default_rng(0)
    values = np.array([squared_mmd(*generator.normal(size=(2, 20, 6))) for _ in range(600)])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert (values < 0).mean() > 0.3


@pytest.mark.parametrize(("num_real", "num_fake", "size"), [(120, 90, 40), (50, 80, 50), (60, 60, 60)])
def test_kernel_distance_agrees_with_torch_fidelity(num_real: int, num_fake: int, size: int) -> None:
    real, fake = correlated(num_real, 48, seed=0), correlated(num_fake, 48, seed=1)
    ours = kernel_distance(real, fake, num_subsets=12, subset_size=size, seed=5)
    theirs = metric_kid.kid_features_to_metric(
        torch.from_numpy(real), torch.from_numpy(fake), kid_subsets=12, kid_subset_size=size, rng_seed=5, verbose=False
    )
    assert ours.mean == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_MEAN], rel=1e-6)
    assert ours.std == pytest.approx(theirs[metric_kid.KEY_METRIC_KID_STD], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("num_real", "num_fake"), [(61, 40), (40, 61), (50, 50)])
def test_kernel_distance_from_one_table_of_products_is_that_of_each_subset(
    num_real: int, num_fake: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "BLOCK_ROWS", 16)
    real, fake = correlated(num_real, 24, seed=0).astype(np.float32), correlated(num_fake, 24, seed=1)
    rows = np.random.RandomState(4)
    expected = [
        squared_mmd(real[rows.choice(num_real, 30, replace=False)], fake[rows.choice(num_fake, 30, replace=False)])
        for _ in range(40)
    ]
    monkeypatch.setattr(distances, "squared_mmd", None)  # the other road would fail
    shared = kernel_distance(real, fake, num_subsets=40, subset_size=30, seed=4)
    assert shared.mean == pytest.approx(np.mean(expected), rel=1e-9)
    assert shared.std == pytest.approx(np.std(expected), rel=1e-9)


def test_kernel_distance_block_by_block_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = correlated(40, 24, seed=0), correlated(33, 24, seed=1)
    whole = squared_mmd(real, fake)
    monkeypatch.setattr(distances, "BLOCK_ROWS", 7)
    assert squared_mmd(real, fake) == pytest.approx(whole, rel=1e-9)
    assert squared_mmd(real, real) < 0  # whole rows with themselves count only between the sets


def test_kernel_distance_states_the_subsets_it_used() -> None:
    features = correlated(30, 4, seed=0)
    lowered = kernel_distance(features, features[:20], num_subsets=3)
    assert (lowered.num_subsets, lowered.subset_size) == (3, 20)
    whole = kernel_distance(features[:20], features[10:], num_subsets=3)
    assert (whole.num_subsets, whole.subset_size, whole.std) == (1, 20, 0)
    given_size = kernel_distance(features, features, num_subsets=3, subset_size=10)
    assert (given_size.num_subsets, given_size.subset_size) == (3, 10)
    assert given_size.std > 0


@pytest.mark.parametrize("distance", [frechet_distance, frechet_bootstrap, frechet_infinity, kernel_distance])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(distance, bad: float) -> None:  # type: ignore[no-untyped-def]
    features = correlated(10, 4, seed=0)
    damaged = features.copy()
    damaged[3, 2] = bad
    with pytest.raises(UserError, match="fake features must be finite"):
        distance(features, damaged)
    with pytest.raises(UserError, match="at least 2 real images, got 1"):
        distance(features[:1], features)
