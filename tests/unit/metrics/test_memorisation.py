import numpy as np
import pytest
from numpy.typing import NDArray

from gan.errors import UserError
from pipeline.metrics.memorisation import authentic, closest_pairs, memorised

Array = NDArray[np.float32]


def normal(num: int, seed: int, dimension: int = 8) -> Array:
    return np.random.default_rng(seed).normal(size=(num, dimension)).astype(np.float32) + 3


def column(*values: float) -> Array:
    return np.array(values, dtype=np.float32)[:, None]


@pytest.mark.parametrize(("num_training", "num_held_out"), [(200, 200), (500, 200), (200, 500)])
def test_copies_are_memorised_and_not_authentic(num_training: int, num_held_out: int) -> None:
    training, held_out = normal(num_training, 0), normal(num_held_out, 1)
    share = memorised(training[::2], training, held_out)
    assert (share.value, share.error) == (1, 0)
    share = authentic(training[::2], training)
    assert (share.value, share.error) == (0, 0)


@pytest.mark.parametrize(("num_training", "num_held_out"), [(600, 600), (900, 300), (300, 900)])
def test_fresh_images_are_as_near_as_unseen_real_ones(num_training: int, num_held_out: int) -> None:
    shares = [
        memorised(normal(400, seed), normal(num_training, 1000 + seed), normal(num_held_out, 2000 + seed))
        for seed in range(12)
    ]
    values = [share.value for share in shares]
    assert abs(np.mean(values) - 0.5) < 4 * np.std(values, ddof=1) / np.sqrt(12)
    assert 0.4 < np.mean([share.error or 0 for share in shares]) / np.std(values, ddof=1) < 2
    assert abs(values[0] - 0.5) < 4 * (shares[0].error or 0)


def test_half_copies_are_three_quarters() -> None:
    training, held_out = normal(600, 0), normal(600, 1)
    fake = np.concatenate([training[:400], normal(400, 2)])
    share = memorised(fake, training, held_out)
    assert abs(share.value - 0.75) < 4 * (share.error or 0)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_images_far_away_or_collapsed_never_look_like_copies(spread: float) -> None:
    """Their nearest neighbours are few images, which may all be training images by chance."""
    for seed in range(8):
        fake = 40 + spread * normal(100, seed)
        assert memorised(fake, normal(300, 50 + seed), normal(200, 90 + seed)).value == 0


def test_share_of_pairs_by_hand() -> None:
    training = column(0)
    share = memorised(column(1, 2, 6), training, column(-2, 3))  # 1 is nearer than both, 2 ties with one, 6 is farther
    assert share.value == pytest.approx((1 + 0.75 + 0) / 3)
    nearer, farther = np.array([1, 0.75, 0]), np.array([0.5, 2 / 3])
    assert share.error == pytest.approx(np.sqrt(nearer.var() / 3 + farther.var() / 2))


def test_authentic_by_hand() -> None:
    training = column(0, 1, 5)  # own nearest at 1, 1, 4
    share = authentic(column(-0.5, -2, 2, 9, 9.5), training)  # from their nearest by 0.5, 2, 1, 4, 4.5
    assert share.value == pytest.approx(2 / 5)
    assert share.error == pytest.approx(np.sqrt(0.4 * 0.6 / 5))


def test_a_fresh_image_is_authentic_about_every_second_time() -> None:
    share = authentic(normal(500, 0), normal(500, 1))
    assert 0.4 < share.value < 0.7


def test_closest_pairs_find_planted_copies() -> None:
    training, fake = normal(300, 0), normal(200, 1)
    planted = {17: 250, 3: 4, 90: 33}
    for fake_index, training_index in planted.items():
        fake[fake_index] = training[training_index]
    pairs = closest_pairs(fake, training, num=10)
    assert dict(zip(pairs.fake_indices[:3].tolist(), pairs.training_indices[:3].tolist(), strict=True)) == planted
    assert pairs.distances[:3].tolist() == [0, 0, 0]
    assert (pairs.distances[3:] > 0).all()
    assert (np.diff(pairs.distances) >= 0).all()
    measured = np.linalg.norm(fake[pairs.fake_indices] - training[pairs.training_indices], axis=1)
    np.testing.assert_allclose(pairs.distances, measured, rtol=1e-6)


@pytest.mark.parametrize("collapsed", [False, True], ids=["spread", "around one training image"])
def test_closest_pairs_are_those_of_the_whole_table_taken_in_order(collapsed: bool) -> None:
    training, fake = normal(40, 0), normal(30, 1)
    if collapsed:
        fake = np.float32(0.01) * (fake - 3) + training[:1]
    table = np.square(fake[:, None].astype(np.float64) - training[None]).sum(axis=2)
    expected = []
    for _ in range(12):
        fake_index, training_index = np.unravel_index(table.argmin(), table.shape)
        expected.append((int(fake_index), int(training_index)))
        table[fake_index], table[:, training_index] = np.inf, np.inf
    pairs = closest_pairs(fake, training, num=12)
    assert list(zip(pairs.fake_indices.tolist(), pairs.training_indices.tolist(), strict=True)) == expected


def test_closest_pairs_use_no_image_twice() -> None:
    pairs = closest_pairs(np.zeros((9, 2), dtype=np.float32), normal(5, 0, dimension=2))
    assert sorted(pairs.training_indices.tolist()) == [0, 1, 2, 3, 4]
    assert len(set(pairs.fake_indices.tolist())) == 5


def test_empty_sets_and_values_that_are_not_finite_are_refused() -> None:
    good, bad = normal(5, 0), np.full((5, 8), np.inf, dtype=np.float32)
    with pytest.raises(UserError, match="at least 1 held-out images, got 0"):
        memorised(good, good, good[:0])
    with pytest.raises(UserError, match="at least 2 training images, got 1"):
        authentic(good, good[:1])
    with pytest.raises(UserError, match="fake features must be finite"):
        closest_pairs(bad, good)
