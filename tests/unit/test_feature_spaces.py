"""The rank correlation of benchmarks/feature_spaces.py."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Metric

from benchmarks import feature_spaces
from gan.errors import UserError
from pipeline.tracking import Stage, connect


def test_coefficients_of_small_sets_by_hand() -> None:
    x, y = np.array([1.0, 2, 3, 4]), np.array([10.0, 30, 20, 40])
    assert feature_spaces.spearman(pd.Series(x), pd.Series(y)) == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert feature_spaces.kendall(x, y) == pytest.approx((5 - 1) / 6)
    assert feature_spaces.kendall(x, -y) == pytest.approx(-(5 - 1) / 6)


def test_coefficients_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    x, noise = np.random.default_rng(0).normal(size=(2, 40))
    y = x + noise
    assert feature_spaces.spearman(pd.Series(x), pd.Series(y)) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert feature_spaces.kendall(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)


def test_points_are_the_steps_that_every_curve_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    store = connect()
    with pytest.raises(UserError, match=r"has 0 checkpoints with the curves a and b, 3 are needed"):
        feature_spaces.read_points(store, ["a", "b"])
    for variant in ("dcgan", "wgan"):
        with store.open_run(name=variant, tags={"stage": Stage.TRAIN, "variant": variant}) as run:
            run.log_points([Metric("curve/a", float(step), 0, step) for step in (1, 2, 3)])
            run.log_points([Metric("curve/b", 10.0 * step, 0, step) for step in (2, 3, 4)])
    points = feature_spaces.read_points(store, ["a", "b"])
    assert points.to_dict("records") == [
        {"run": variant, "variant": variant, "step": step, "a": float(step), "b": 10.0 * step}
        for variant in ("dcgan", "wgan")
        for step in (2, 3)
    ]
    table = feature_spaces.correlations(points, "a", "b")
    assert table["checkpoints of"].tolist() == ["all", "dcgan", "wgan"]
    assert table["Spearman"].tolist() == [1.0, 1.0, 1.0]


def test_one_variant_far_from_the_others_makes_no_correlation_of_theirs() -> None:
    values = {"a": [(1.0, 2.0), (2.0, 1.0)], "b": [(1.5, 1.5), (2.5, 0.5)], "far": [(90.0, 90.0), (91.0, 91.0)]}
    rows = [{"variant": name, "x": x, "y": y} for name, pairs in values.items() for x, y in pairs]
    table = feature_spaces.correlations(pd.DataFrame(rows), "x", "y")
    found = dict(zip(table["checkpoints of"], table["Spearman"].astype(float), strict=True))
    assert found["all but far"] == -1.0
    assert found["all"] > 0
    assert list(found) == ["all", "all but a", "all but b", "all but far", "a", "b", "far"]
