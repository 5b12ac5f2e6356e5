"""The training loop against a plain one, and against itself after interruptions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan.checkpoints import Checkpoints
from gan.config import Config
from gan.errors import UserError
from gan.randomness import Stream, epoch_order, step_latents, torch_seed
from gan.training import Outcome, build, train
from pipeline.config import load_experiment

CPU = torch.device("cpu")
NUM_STEPS = 6  # with 11 images and batches of 4: two epochs of 3 steps, whose last batch is smaller


@dataclass
class Recorder:
    points: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    grids: list[tuple[int, Tensor]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.points.append((step, dict(values)))

    def samples(self, step: int, images: Tensor) -> None:
        self.grids.append((step, images))

    def progress(self, step: int, num_images: int) -> None:
        self.steps.append(step)

    def flush(self) -> None:
        pass


def configuration(variant: str, *overrides: str) -> Config:
    return load_experiment(variant, ["batch_size=4", f"max_steps={NUM_STEPS}", *overrides])


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few samples at few steps: most of the loop's time in so short a training."""
    monkeypatch.setattr("gan.sampling.CHUNK", 4)
    monkeypatch.setattr("gan.training.NUM_FIXED", 4)
    monkeypatch.setattr("gan.training.NUM_GRIDS", 2)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), dtype=np.uint8)


def run(
    config: Config,
    images: np.ndarray,
    folder: Path,
    stop_after: int | None = None,
    seed: int = 3,
    dtype: torch.dtype = torch.float32,
) -> tuple[Outcome, Recorder]:
    recorder = Recorder()
    outcome = train(
        config,
        images,
        seed=seed,
        device=CPU,
        checkpoints=Checkpoints(folder, "test"),
        observer=recorder,
        stopping=lambda: stop_after is not None and recorder.steps[-1:] == [stop_after],
        dtype=dtype,
    )
    return outcome, recorder


def plain_loop(variant: str, config: Config, images: np.ndarray, seed: int) -> tuple[nn.Module, nn.Module]:
    """Train as one would write it down: gradients of everything, losses on probabilities or means."""
    state = build(config, seed, CPU)
    generator, discriminator = state.generator.double(), state.discriminator.double()
    make = {
        "dcgan": lambda p: torch.optim.Adam(p, lr=1e-4, betas=(0.5, 0.999)),
        "wgan": lambda p: torch.optim.RMSprop(p, lr=1e-4),
        "wgan_sgd": lambda p: torch.optim.SGD(p, lr=1e-4),
    }[variant]
    optimizer_g, optimizer_d = make(generator.parameters()), make(discriminator.parameters())
    batches = [epoch_order(seed, epoch, 11)[start : start + 4] for epoch in range(2) for start in (0, 4, 8)]
    for step, batch in enumerate(batches[:NUM_STEPS], start=1):
        real = torch.stack([torch.from_numpy(images[i]).permute(2, 0, 1).double() for i in sorted(batch)]) / 127.5 - 1
        torch.manual_seed(torch_seed(seed, Stream.NOISE, step))
        z = step_latents(seed, Stream.LATENTS, step, len(real), 100).double()
        fake = generator(z)
        real_score, fake_score = discriminator(real), discriminator(fake.detach())
        optimizer_d.zero_grad()
        if variant == "dcgan":
            (-torch.log(real_score).mean() - torch.log(1 - fake_score).mean()).backward()
        else:
            (fake_score.mean() - real_score.mean()).backward()
        optimizer_d.step()
        if variant != "dcgan":
            for parameter in discriminator.parameters():
                parameter.data.clamp_(-0.01, 0.01)
        if variant == "dcgan":
            optimizer_g.zero_grad()
            (-torch.log(discriminator(fake)).mean()).backward()
            optimizer_g.step()
        elif step % 5 == 0:
            optimizer_g.zero_grad()
            z = step_latents(seed, Stream.FRESH_LATENTS, step, len(real), 100).double()
            (-discriminator(generator(z)).mean()).backward()
            optimizer_g.step()
    return generator, discriminator


@pytest.mark.parametrize("variant", ["dcgan", "wgan", "wgan_sgd"])
def test_equals_a_plain_loop(variant: str, images: np.ndarray, tmp_path: Path) -> None:
    config = configuration(variant)
    outcome, _ = run(config, images, tmp_path, dtype=torch.float64)
    generator, discriminator = plain_loop(variant, config, images, seed=3)
    for ours, plain in ((outcome.state.generator, generator), (outcome.state.discriminator, discriminator)):
        torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("variant", ["dcgan", "wgan_sgd"])
def test_stopped_and_resumed_is_uninterrupted_bit_for_bit(variant: str, images: np.ndarray, tmp_path: Path) -> None:
    config = configuration(variant)
    whole, whole_record = run(config, images, tmp_path / "whole")
    first, first_record = run(config, images, tmp_path / "parts", stop_after=4)
    assert not first.finished
    second, second_record = run(config, images, tmp_path / "parts")
    assert second.finished
    _assert_equal(second.state.to_dict(), whole.state.to_dict())
    assert first_record.points + second_record.points == whole_record.points
    parts = first_record.grids + second_record.grids
    assert [step for step, _ in parts] == [step for step, _ in whole_record.grids]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(parts, whole_record.grids, strict=True))


def _assert_equal(found: Any, expected: Any, name: str = "state") -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            if key != "seconds":
                _assert_equal(found[key], expected[key], f"{name}.{key}")
    elif isinstance(expected, list):
        for i, (a, b) in enumerate(zip(found, expected, strict=True)):
            _assert_equal(a, b, f"{name}.{i}")
    elif isinstance(expected, Tensor):
        assert torch.equal(found, expected), name
    else:
        assert found == expected, name


def test_the_same_seed_gives_the_same_and_another_seed_another_result(images: np.ndarray, tmp_path: Path) -> None:
    config = configuration("dcgan", "max_steps=2")
    first, again, other = (run(config, images, tmp_path / str(i), seed=seed) for i, seed in enumerate((3, 3, 4)))
    assert first[1].points == again[1].points
    assert first[1].points != other[1].points


def test_what_is_done_is_counted(images: np.ndarray, tmp_path: Path) -> None:
    outcome, record = run(configuration("wgan"), images, tmp_path)
    assert outcome.state.step == NUM_STEPS
    assert outcome.state.images_seen == 4 + 4 + 3 + 4 + 4 + 3
    with_generator = [step for step, values in record.points if "loss_generator" in values]
    assert with_generator == [5]
    assert record.grids[0][0] == 0
    assert record.grids[-1][0] == NUM_STEPS
    limits = [parameter.abs().max().item() for parameter in outcome.state.discriminator.parameters()]
    assert max(limits) == pytest.approx(0.01, abs=1e-9)


def test_discriminator_outputs_are_those_of_the_described_model(images: np.ndarray, tmp_path: Path) -> None:
    _, record = run(configuration("dcgan", "max_steps=1"), images, tmp_path)
    ((_, values),) = record.points
    assert 0 < values["real_output"] < 1
    assert 0 < values["fake_output"] < 1


def test_a_training_that_diverges_says_so(images: np.ndarray, tmp_path: Path) -> None:
    optimizer = "optimizer={name: sgd, lr: 1e6, momentum: 0.9}"
    config = configuration("wgan", optimizer, "weight_clip=null", "discriminator_steps=1")
    outcome, _ = run(config, images, tmp_path)
    assert outcome.diverged
    assert not outcome.finished


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="64 x 64 x 3, the dataset has 32 x 32 x 3"):
        run(configuration("dcgan"), np.zeros((20, 32, 32, 3), dtype=np.uint8), tmp_path)


@pytest.mark.parametrize(("num_images", "steps"), [(128, 2), (129, 2), (130, 3), (2, 1), (3, 1)])
def test_a_last_batch_of_one_image_is_left_out(num_images: int, steps: int) -> None:
    assert load_experiment("dcgan").steps_per_epoch(num_images) == steps


def test_one_image_is_too_few() -> None:
    with pytest.raises(UserError, match="at least 2"):
        load_experiment("dcgan").steps_per_epoch(1)
