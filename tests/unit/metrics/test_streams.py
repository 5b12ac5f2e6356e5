"""Features in blocks: what is done when a process is killed is not done again."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.metrics import streams
from pipeline.metrics.extractors import Extractor, Features
from pipeline.metrics.streams import stream_features

IMAGES = torch.randint(0, 256, (100, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Means(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3))


class Source:
    """Gives images and remembers which were asked for; breaks off after some."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.asked: list[int] = []
        self.stop_after = stop_after

    def __call__(self, start: int, stop: int) -> Iterator[Tensor]:
        for first in range(start, stop, 5):
            if first >= self.stop_after:
                raise KeyboardInterrupt
            indices = range(first, min(first + 5, stop))
            self.asked += indices
            yield IMAGES[indices.start : indices.stop]


def features(source: Source, cache: Path, num: int = 90, seed: int = 0) -> Features:
    extractor = Extractor("means", 3, {"layer": "mean"}, torch.device("cpu"), Means(), remedy="")
    return stream_features(
        extractor, source, num_images=num, identity={"seed": seed}, cache=cache, description="test", progress=False
    )


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BLOCK", 20)


def test_an_interrupted_extraction_goes_on_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        features(Source(stop_after=55), tmp_path)
    second = Source()
    found = features(second, tmp_path)
    np.testing.assert_allclose(found, IMAGES[:90].float().mean(dim=(2, 3)), rtol=1e-6)
    assert second.asked == list(range(40, 90))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_block_is_computed_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        features(Source(stop_after=55), tmp_path)
    (folder,) = tmp_path.iterdir()
    first, _ = sorted(folder.iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    second = Source()
    np.testing.assert_array_equal(features(second, tmp_path), features(Source(), tmp_path))
    assert second.asked == [*range(20), *range(40, 90)]


def test_blocks_of_other_images_are_not_taken(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        features(Source(stop_after=55), tmp_path, seed=0)
    other = Source()
    features(other, tmp_path, seed=1)
    assert other.asked == list(range(90))
    fewer = Source()
    features(fewer, tmp_path, num=60)
    assert fewer.asked == list(range(60))


def test_one_block_needs_no_file(tmp_path: Path) -> None:
    np.testing.assert_allclose(
        features(Source(), tmp_path / "cache", num=20), IMAGES[:20].float().mean(dim=(2, 3)), rtol=1e-6
    )
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_costs_only_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cache").write_text("a file")
    assert features(Source(), tmp_path / "cache").shape == (90, 3)
    assert "cannot be written" in caplog.text
