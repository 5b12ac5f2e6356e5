from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity import metric_prc

from gan.errors import UserError
from pipeline.metrics import manifold as module
from pipeline.metrics.manifold import Manifold, manifold, nearest, neighbours

Array = NDArray[np.float32]


def normal(num: int, dimension: int, seed: int, scale: float = 1) -> Array:
    return (scale * np.random.default_rng(seed).normal(size=(num, dimension))).astype(np.float32)


def column(*values: float) -> Array:
    return np.array(values, dtype=np.float32)[:, None]


def values(result: Manifold) -> tuple[float, float, float, float]:
    return result.precision.value, result.recall.value, result.density.value, result.coverage.value


def distances(x: Array, y: Array) -> NDArray[np.float64]:
    difference = x[:, None].astype(np.float64) - y[None].astype(np.float64)
    return np.asarray(np.sqrt((difference**2).sum(axis=2)))


def radii(x: Array, k: int) -> NDArray[np.float64]:
    within = distances(x, x)
    np.fill_diagonal(within, np.inf)
    return np.asarray(np.sort(within, axis=1)[:, k - 1])


def brute_force(real: Array, fake: Array, k_precision: int, k_density: int) -> tuple[float, float, float, float]:
    between = distances(real, fake)
    in_ball = between < radii(real, k_density)[:, None]
    return (
        float((between <= radii(real, k_precision)[:, None]).any(axis=0).mean()),
        float((between <= radii(fake, k_precision)[None]).any(axis=1).mean()),
        float(in_ball.sum() / (k_density * len(fake))),
        float(in_ball.any(axis=1).mean()),
    )


def test_by_hand_on_a_line() -> None:
    real, fake = column(0, 1, 3, 7), column(0.5, 4.5, 20)
    # nearest other: real 1, 1, 2, 4 (0-1, 1-0, 3-1, 7-3); fake 4, 4, 15.5
    # fake 0.5 is in the balls of 0 and 1, 4.5 in those of 3 and 7, 20 in none; every real one is near a fake one
    result = manifold(real, fake, k_precision=1, k_density=1)
    assert values(result) == pytest.approx((2 / 3, 1, 4 / 3, 1))
    assert result.precision.error == pytest.approx(np.std([1, 1, 0], ddof=1) / np.sqrt(3))
    assert result.density.error == pytest.approx(np.std([2, 2, 0], ddof=1) / np.sqrt(3))
    assert result.recall.error == result.coverage.error == 0
    # second nearest other: real 3, 2, 3, 6; fake 19.5, 15.5, 19.5: balls of 0.5: 0, 1, 3; of 4.5: 3, 7
    assert values(manifold(real, fake, k_precision=2, k_density=2)) == pytest.approx((2 / 3, 1, 5 / 6, 1))


def test_the_edge_of_a_ball_is_inside_for_precision_and_recall_only() -> None:
    real, fake = column(0, 2), column(4, 6)  # all radii are 2, and 4 lies on the edge of the ball of 2
    assert values(manifold(real, fake, k_precision=1, k_density=1)) == (0.5, 0.5, 0, 0)


@pytest.mark.parametrize("block_size", [1, 100, 1000, 2**23])
def test_agrees_with_brute_force_at_every_block_size(block_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_SIZE", block_size)
    real, fake = normal(67, 9, 0) + 30, normal(45, 9, 1, scale=0.9) + 30.2
    assert values(manifold(real, fake, k_precision=2, k_density=4)) == pytest.approx(brute_force(real, fake, 2, 4))
    assert values(manifold(real, fake)) == pytest.approx(brute_force(real, fake, 3, 5))
    found, indices = neighbours(fake, real, num=3)
    expected = distances(fake, real)
    assert (indices == expected.argsort(axis=1)[:, :3]).all()
    np.testing.assert_allclose(found, np.sort(expected, axis=1)[:, :3], rtol=1e-5)
    own, others = nearest(real, real, leave_out_self=True)
    np.testing.assert_allclose(own, radii(real, 1), rtol=1e-5)
    assert (others != np.arange(67)).all()
    assert own.dtype == np.float32
    assert others.dtype == np.int64


@pytest.mark.parametrize("peer", ["calculate_precision_recall_full", "calculate_precision_recall_part"])
@pytest.mark.parametrize(("num_real", "num_fake"), [(300, 200), (150, 300)])
def test_precision_and_recall_agree_with_torch_fidelity(peer: str, num_real: int, num_fake: int) -> None:
    real, fake = normal(num_real, 12, 0), normal(num_fake, 12, 1, scale=1.1)
    expected = getattr(metric_prc, peer)(torch.from_numpy(fake), torch.from_numpy(real), neighborhood=3, batch_size=64)
    assert 0.1 < min(expected) < max(expected) < 0.99
    assert values(manifold(real, fake))[:2] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_of_equal_distributions(k: int) -> None:
    num = 120
    results = [
        values(manifold(normal(num, 4, seed), normal(num, 4, 1000 + seed), k_density=k))[2:] for seed in range(150)
    ]
    spread = np.std(results, axis=0) / np.sqrt(len(results))
    density, coverage = np.mean(results, axis=0)
    expected = 1 - prod((num - i) / (2 * num - i) for i in range(1, k + 1))  # Naeem et al., section 3.3.2
    assert abs(density - 1) < 4 * spread[0] < 0.05
    assert abs(coverage - expected) < 4 * spread[1] < 0.03


def test_a_collapsed_generator_is_precise_and_covers_little() -> None:
    modes = normal(400, 6, 0)
    modes[200:] += 100
    fake = normal(300, 6, 1, scale=0.8)
    precision, recall, density, coverage = values(manifold(modes, fake))
    assert precision > 0.95
    assert recall < 0.51
    assert coverage < 0.51
    assert density > 0.9


def test_a_generator_broader_than_the_data_has_recall_without_precision() -> None:
    precision, recall, density, _ = values(manifold(normal(400, 6, 0), normal(400, 6, 1, scale=3)))
    assert precision < 0.3
    assert recall > 0.95
    assert density < 0.3


def test_identical_sets_cover_each_other() -> None:
    real = normal(80, 20, 0)
    precision, recall, density, coverage = values(manifold(real, real.copy()))
    assert precision == recall == coverage == 1
    assert density == pytest.approx(1, abs=0.2)  # an edge, of a distance to itself, may be rounded to either side


@pytest.mark.parametrize("place", [0.1, 1e4])
def test_a_constant_generator_is_finite(place: float) -> None:
    real, fake = normal(60, 30, 0), np.full((40, 30), place, dtype=np.float32)
    result = manifold(real, fake)
    assert np.isfinite(values(result)).all()
    assert result.recall.value == 0
    assert result.precision.value == (place < 1)
    copies = np.repeat(real[:1], 40, axis=0)
    assert values(manifold(real, copies))[:2] == (1, 1 / 60)
    assert nearest(copies, real)[0].max() == 0
    assert values(manifold(copies, copies)) == (1, 1, 0, 0)  # no ball has an inside


@given(seed=st.integers(0, 99), dimension=st.integers(2, 8), num=st.integers(7, 30))
@settings(max_examples=25, deadline=None)
def test_blind_to_order_place_and_direction(seed: int, dimension: int, num: int) -> None:
    generator = np.random.default_rng(seed)
    real, fake = normal(num, dimension, seed), normal(num + 5, dimension, seed + 100)
    expected = values(manifold(real, fake))
    rotation, _ = np.linalg.qr(generator.normal(size=(dimension, dimension)))
    moved = [(features @ rotation + 5).astype(np.float32) for features in (real, fake)]
    assert values(manifold(moved[0], moved[1])) == pytest.approx(expected)
    assert values(manifold(generator.permutation(real), generator.permutation(fake))) == pytest.approx(expected)


@pytest.mark.parametrize("block_size", [690, 5000, 2**23])
def test_distances_of_copies_far_from_the_origin_are_zero(block_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_SIZE", block_size)  # products are rounded otherwise in blocks of other shapes
    references = normal(50, 2048, 0) + 1000
    found, indices = nearest(references[[7, 3]], references)
    assert found.tolist() == [0, 0]
    assert indices.tolist() == [7, 3]
    copies = np.repeat(references, 7, axis=0)
    assert values(manifold(copies, np.repeat(references, 6, axis=0))) == (1, 1, 0, 0)  # all balls are points


@pytest.mark.parametrize(("near", "far"), [(7, 30), (30, 7)])
def test_neighbours_too_close_for_products_are_told_apart_by_differences(near: int, far: int) -> None:
    references = normal(50, 64, 0) * 100
    query = references[40].copy()
    references[near], references[far] = query, query
    references[[near, far, 40], 0] += np.array([0.01, 0.02, 0.03], dtype=np.float32)
    found, indices = neighbours(query[None], references, num=3)
    assert indices.tolist() == [[near, far, 40]]
    assert found[0] == pytest.approx([0.01, 0.02, 0.03], rel=0.01)


def test_settings_of_speed_do_not_touch_the_products(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    backends: Any = torch.backends
    squared_distances = module._squared_distances

    def spy(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
        for block in squared_distances(x, y):
            seen.append((backends.cuda.matmul.fp32_precision, torch.is_autocast_enabled("cpu")))
            yield block

    monkeypatch.setattr(module, "_squared_distances", spy)
    before = backends.cuda.matmul.fp32_precision
    try:
        backends.cuda.matmul.fp32_precision = "tf32"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            manifold(normal(60, 16, 0), normal(60, 16, 1))
            nearest(normal(60, 16, 0), normal(60, 16, 1))
    finally:
        backends.cuda.matmul.fp32_precision = before
    assert seen == [("ieee", False)] * 4


def test_too_few_images_and_values_that_are_not_finite_are_refused() -> None:
    real = normal(6, 4, 0)
    manifold(real, real)
    with pytest.raises(UserError, match="at least 6 fake images, got 5"):
        manifold(real, real[:5])
    with pytest.raises(UserError, match="at least 8 real images, got 6"):
        manifold(real, real, k_precision=7)
    damaged = real.copy()
    damaged[1, 1] = np.nan
    with pytest.raises(UserError, match="real features must be finite"):
        manifold(damaged, real)
    with pytest.raises(ValueError, match="one set"):
        nearest(real, real[:5], leave_out_self=True)
