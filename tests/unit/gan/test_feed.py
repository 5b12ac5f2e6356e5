"""What steps take in depends on seed, epoch and step, on nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gan.feed import Feed, Inputs
from gan.randomness import Stream, epoch_order, step_latents
from pipeline.config import load_experiment

CPU = torch.device("cpu")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 8, 8, 3), dtype=np.uint8)


def feed(images: np.ndarray, *overrides: str, seed: int = 3, resident: bool | None = None) -> Feed:
    return Feed(images, load_experiment("wgan", ["batch_size=8", *overrides]), seed, CPU, resident)


def assert_same(first: Inputs, second: Inputs) -> None:
    assert (first.step, first.noise_seed) == (second.step, second.noise_seed)
    assert all(torch.equal(a, b) for a, b in zip(first.tensors, second.tensors, strict=True))


def test_an_epoch_shows_every_image_once_in_the_order_of_seed_and_epoch(images: np.ndarray) -> None:
    source = feed(images)
    shown = [source.indices(step) for step in range(1, 11)]
    assert [len(batch) for batch in shown] == [8, 8, 8, 8, 5] * 2
    for epoch in (0, 1):
        order = epoch_order(3, epoch, 37)
        batches = [np.sort(order[start : start + 8]) for start in range(0, 37, 8)]
        assert all(np.array_equal(a, b) for a, b in zip(shown[5 * epoch : 5 * epoch + 5], batches, strict=True))


def test_inputs_hold_the_images_and_latents_of_their_step(images: np.ndarray) -> None:
    source = feed(images)
    for inputs in source.steps(1, 40):
        chosen = source.indices(inputs.step)
        assert np.array_equal(inputs.pixels.numpy(), images[chosen])
        assert torch.equal(inputs.latents, step_latents(3, Stream.LATENTS, inputs.step, len(chosen), 100))
        assert torch.equal(inputs.fresh_latents, step_latents(3, Stream.FRESH_LATENTS, inputs.step, len(chosen), 100))
        assert not torch.equal(inputs.latents, inputs.fresh_latents)
        assert inputs.uniform.numel() == 0


@pytest.mark.parametrize("start", [2, 5, 16, 17, 39])
def test_a_feed_that_begins_later_goes_on_as_one_that_began_before(images: np.ndarray, start: int) -> None:
    whole = list(feed(images, "gradient_penalty={name: wgan_gp, weight: 10.0}").steps(1, 40))
    later = list(feed(images, "gradient_penalty={name: wgan_gp, weight: 10.0}").steps(start, 40))
    assert len(later) == 41 - start
    for first, second in zip(whole[start - 1 :], later, strict=True):
        assert_same(first, second)
    assert all(((each.uniform >= 0) & (each.uniform < 1)).all() and len(each.uniform) > 0 for each in whole)


def test_memory_map_array_and_resident_images_feed_the_same(images: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    sources = [feed(images), feed(mapped), feed(images, resident=True)]
    for first, *others in zip(*(source.steps(1, 20) for source in sources), strict=True):
        for other in others:
            assert_same(first, other)


def test_the_number_of_threads_changes_nothing(images: np.ndarray) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = list(feed(images).steps(1, 20))
        torch.set_num_threads(4)
        four = list(feed(images).steps(1, 20))
    finally:
        torch.set_num_threads(before)
    for first, second in zip(one, four, strict=True):
        assert_same(first, second)
