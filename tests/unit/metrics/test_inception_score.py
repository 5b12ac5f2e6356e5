import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity import metric_isc

from gan.errors import UserError
from pipeline.metrics import inception_score as module
from pipeline.metrics.inception_score import inception_score


def test_undecided_predictions_score_one() -> None:
    score = inception_score(np.full((50, 7), 3.0, dtype=np.float32))
    assert score.mean == pytest.approx(1, rel=1e-12)
    assert score.std == pytest.approx(0, abs=1e-12)


def test_sure_predictions_of_one_class_score_one() -> None:
    assert inception_score(1e4 * np.eye(7, dtype=np.float32)[np.zeros(50, dtype=int)]).mean == pytest.approx(1)


@pytest.mark.parametrize("num_classes", [2, 9])
def test_sure_predictions_of_all_classes_score_their_number(num_classes: int) -> None:
    logits = 1e4 * np.eye(num_classes, dtype=np.float32)[np.arange(num_classes * 20) % num_classes]
    assert inception_score(logits, num_splits=1).mean == pytest.approx(num_classes, rel=1e-12)


def test_two_predictions_in_closed_form() -> None:
    logits = np.log(np.array([[0.9, 0.1], [0.2, 0.8]]))
    marginal = np.array([0.55, 0.45])
    divergences = [sum(p * np.log(p / q) for p, q in zip(np.exp(row), marginal, strict=True)) for row in logits]
    assert inception_score(logits, num_splits=1).mean == pytest.approx(np.exp(np.mean(divergences)), rel=1e-12)


@pytest.mark.parametrize(("num", "num_splits"), [(1000, 10), (103, 7), (12, 12)])
@pytest.mark.parametrize("block_rows", [3, 1024])
def test_agrees_with_torch_fidelity(
    num: int, num_splits: int, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", block_rows)
    logits = (4 * np.random.default_rng(0).normal(size=(num, 20))).astype(np.float32)
    ours = inception_score(logits, num_splits=num_splits, seed=11)
    theirs = metric_isc.isc_features_to_metric(torch.from_numpy(logits), splits=num_splits, rng_seed=11)
    assert ours.mean == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_MEAN], rel=1e-10)
    assert ours.std == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_STD], rel=1e-8, abs=1e-12)


def test_the_seed_of_torch_fidelity_is_the_default() -> None:
    logits = np.random.default_rng(0).normal(size=(100, 5))
    theirs = metric_isc.isc_features_to_metric(torch.from_numpy(logits))
    assert inception_score(logits).mean == pytest.approx(theirs[metric_isc.KEY_METRIC_ISC_MEAN], rel=1e-10)


@given(
    num=st.integers(1, 60),
    num_classes=st.integers(1, 12),
    scale=st.sampled_from([1e-3, 1, 30, 1e4]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_between_one_and_the_number_of_classes(num: int, num_classes: int, scale: float, seed: int) -> None:
    logits = scale * np.random.default_rng(seed).normal(size=(num, num_classes))
    score = inception_score(logits)
    assert 1 <= score.mean <= num_classes * (1 + 1e-12)
    assert 0 <= score.std <= num_classes


def test_fewer_images_than_splits_are_a_split_each() -> None:
    score = inception_score(np.random.default_rng(0).normal(size=(4, 5)))
    assert score.mean == pytest.approx(1)
    assert score.std == pytest.approx(0, abs=1e-12)


def test_no_images_and_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UserError, match="at least 1 fake images, got 0"):
        inception_score(np.zeros((0, 5)))
    with pytest.raises(UserError, match="must be finite"):
        inception_score(np.full((3, 5), np.nan))
