import numpy as np
import pytest
import torch
from torch import nn

from pipeline.metrics import measures
from pipeline.metrics.distances import frechet_distance, kernel_distance
from pipeline.metrics.extractors import Extractor, Features
from pipeline.metrics.measures import METRICS, Measurement, measure

EXTRACTOR = Extractor("means", 3, {}, torch.device("cpu"), nn.Identity(), remedy="")


def features(num: int, seed: int) -> Features:
    return np.random.default_rng(seed).normal(size=(num, 3)).astype(np.float32)


def test_values_carry_the_names_of_the_feature_space() -> None:
    real, fake = features(30, 0), features(20, 1)
    result = measure(EXTRACTOR, real, fake)
    distance = kernel_distance(real, fake)
    assert result.values == {
        "fd_means": frechet_distance(real, fake),
        "kd_means": distance.mean,
        "kd_means_std": distance.std,
    }
    assert result.protocol == {"kd_means_subsets": "100 of 20 images, seed 0"}


def test_a_further_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure_shift(extractor: Extractor, real: Features, fake: Features) -> Measurement:
        return Measurement(
            {f"shift_{extractor.name}": float(np.abs(real.mean(0) - fake.mean(0)).max())}, {"shift": "max"}
        )

    monkeypatch.setattr(measures, "METRICS", {**METRICS, "shift": measure_shift})
    result = measure(EXTRACTOR, features(9, 0), features(9, 0) + 2)
    assert result.values["shift_means"] == pytest.approx(2, rel=1e-5)
    assert result.protocol["shift"] == "max"
