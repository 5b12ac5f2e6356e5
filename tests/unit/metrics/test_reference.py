import importlib.metadata
import logging
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.metrics import reference
from pipeline.metrics.extractors import Extractor, Features
from pipeline.metrics.reference import reference_features

IMAGES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, size=(30, 8, 8, 3), dtype=np.uint8)


class CountingMeans(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.num_images = 0

    def forward(self, images: Tensor) -> Tensor:
        self.num_images += len(images)
        return images.float().mean(dim=(2, 3))


@dataclass
class Setup:
    """Reference features with a network that counts what it is given."""

    cache: Path
    network: CountingMeans = field(default_factory=CountingMeans)
    digest: str = "d1"
    indices: NDArray[np.int64] = field(default_factory=lambda: np.array([3, 5, 28, 11]))
    protocol: dict[str, str] = field(default_factory=lambda: {"layer": "mean", "weights_sha256": "0"})
    batch_size: int = 3

    def features(self) -> Features:
        cpu = torch.device("cpu")
        extractor = Extractor("means", 3, self.protocol, cpu, self.network, remedy="")
        return reference_features(
            extractor,
            IMAGES,
            dataset_digest=self.digest,
            indices=self.indices,
            cache=self.cache,
            batch_size=self.batch_size,
            progress=False,
        )


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(cache=tmp_path / "cache")


def expected(indices: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
    means: NDArray[np.floating[Any]] = IMAGES[indices].mean(axis=(1, 2))
    return means


def test_features_are_computed_once_and_follow_the_indices(setup: Setup) -> None:
    first = setup.features()
    second = setup.features()
    np.testing.assert_allclose(first, expected(setup.indices), rtol=1e-6)
    np.testing.assert_array_equal(first, second)
    assert first.dtype == second.dtype == np.float32
    assert setup.network.num_images == 4
    (file,) = setup.cache.iterdir()
    np.testing.assert_array_equal(np.load(file, allow_pickle=False), first)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "d2"},
        {"indices": np.array([3, 5, 11, 28])},
        {"protocol": {"layer": "mean", "weights_sha256": "1"}},
        {"protocol": {"layer": "other", "weights_sha256": "0"}},
        {"batch_size": 2},
    ],
    ids=str,
)
def test_whatever_the_features_depend_on_is_in_the_key(setup: Setup, change: dict[str, Any]) -> None:
    setup.features()
    changed = replace(setup, **change)
    np.testing.assert_allclose(changed.features(), expected(changed.indices), rtol=1e-6)
    assert setup.network.num_images == 8


def test_a_new_version_of_a_library_is_a_new_key(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.features()
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "99")
    setup.features()
    assert setup.network.num_images == 8


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_file_is_computed_again_with_a_warning(
    setup: Setup, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = setup.features()
    (file,) = setup.cache.iterdir()
    content = file.read_bytes()
    begin, byte, end = content[:-50], content[-50:-49], content[-49:]
    flipped = begin + bytes([byte[0] ^ 1]) + end
    file.write_bytes({"flip": flipped, "cut": begin, "empty": b"", "text": b"hello"}[damage])
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(setup.features(), first)
    assert "damaged" in caplog.text
    assert str(file) in caplog.text
    assert setup.network.num_images == 8
    caplog.clear()
    setup.features()
    assert caplog.text == ""
    assert setup.network.num_images == 8


def test_a_folder_that_cannot_be_written_costs_only_a_warning(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    setup.cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(setup.features(), expected(setup.indices), rtol=1e-6)
    assert "cannot be written" in caplog.text


def test_concurrent_use_is_safe(setup: Setup) -> None:
    results: list[Features] = []
    threads = [threading.Thread(target=lambda: results.append(setup.features())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for features in results:
        np.testing.assert_allclose(features, expected(setup.indices), rtol=1e-6)
    assert [path.suffix for path in setup.cache.iterdir()] == [".npy"]


def test_a_memory_map_will_do(setup: Setup, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    batch = next(reference.image_batches(mapped, setup.indices, 4))
    assert batch.shape == (4, 3, 8, 8)
    np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), IMAGES[setup.indices])
