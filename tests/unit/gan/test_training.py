"""The training loop against a plain one, and against itself after interruptions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan.checkpoints import Checkpoints
from gan.config import Config
from gan.errors import UserError
from gan.sampling import sample
from gan.training import Evaluation, Outcome, best_generator, train
from pipeline.config import load_experiment
from tests.unit.gan.plain_loop import train_plainly

CPU = torch.device("cpu")
NUM_STEPS = 6  # with 11 images and batches of 4: two epochs of 3 steps, whose last batch is smaller


@dataclass
class Recorder:
    points: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    grids: list[tuple[int, Tensor]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    seconds: list[tuple[int, float]] = field(default_factory=list)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self.seconds.append((step, values["time/seconds"]))
        self.points.append((step, {key: value for key, value in values.items() if key != "time/seconds"}))

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
    evaluation: Evaluation | None = None,
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
        evaluation=evaluation,
    )
    return outcome, recorder


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["dcgan", "wgan", "wgan_sgd"])
def test_twenty_steps_equal_a_plain_loop(variant: str, images: np.ndarray, tmp_path: Path) -> None:
    """In float64, to 1e-9: the engine leaves work out, but changes no number."""
    config = configuration(variant, "batch_size=3", "max_steps=20")
    outcome, record = run(config, images, tmp_path, dtype=torch.float64)
    plain = train_plainly(variant, config, images, 3, torch.float64)
    losses = [values["train/loss_discriminator"] for values in curve(record)]
    np.testing.assert_allclose(losses, plain.losses_discriminator, rtol=1e-9)
    losses_generator = [values.get("train/loss_generator", np.nan) for values in curve(record)]
    expected = [np.nan if loss is None else loss for loss in plain.losses_generator]
    np.testing.assert_allclose(losses_generator, expected, rtol=1e-9)
    for ours, theirs in (
        (outcome.state.generator, plain.generator),
        (outcome.state.discriminator, plain.discriminator),
    ):
        assert largest_deviation(ours, theirs) < 1e-9


@pytest.mark.parametrize("variant", ["dcgan", "wgan", "wgan_sgd"])
def test_in_float32_the_deviation_is_rounding(variant: str, images: np.ndarray, tmp_path: Path) -> None:
    """After five steps the engine is about as far from the float64 result as a plain float32 loop is."""
    config = configuration(variant, "batch_size=3", "max_steps=5")
    outcome, _ = run(config, images, tmp_path)
    exact, plain = (train_plainly(variant, config, images, 3, dtype) for dtype in (torch.float64, torch.float32))
    for name in ("generator", "discriminator"):
        ours = largest_deviation(getattr(outcome.state, name), getattr(exact, name))
        theirs = largest_deviation(getattr(plain, name), getattr(exact, name))
        assert ours < 4 * theirs + 1e-6, name


def largest_deviation(network: nn.Module, reference: nn.Module) -> float:
    """Return the largest relative error of a tensor, in the L2 norm.

    A bias ahead of a BatchNorm is taken away again with the mean: its gradient is 0 but for rounding, of which Adam
    makes steps. Those biases, and the means that hold them, are compared in absolute terms, a hundred times looser.
    """
    expected, cancelled = reference.state_dict(), without_effect(reference)
    errors: list[float] = []
    for name, tensor in network.state_dict().items():
        error = (tensor.double() - expected[name].double()).norm().item()
        errors.append(error / 100 if name in cancelled else error / max(expected[name].double().norm().item(), 1e-3))
    return max(errors)


def without_effect(network: nn.Module) -> set[str]:
    """Return the names of biases ahead of a BatchNorm and of its running means."""
    names = set()
    for path, module in network.named_modules():
        layers = list(module.named_children()) if isinstance(module, nn.Sequential) else []
        for (before, _), (after, norm) in pairwise(layers):
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                prefix = f"{path}." if path else ""
                names |= {f"{prefix}{before}.bias", f"{prefix}{after}.running_mean"}
    return names


def curve(record: Recorder) -> list[dict[str, float]]:
    """Return the points that every step has."""
    return [values for _, values in record.points if "train/loss_discriminator" in values]


@pytest.mark.parametrize(
    ("variant", "overrides"),
    [
        ("wgan_sgd", ["schedule={name: cosine, final: 0.1}", "optimizer.momentum=0.9"]),
        ("wgan_gp", ["discriminator_steps=2"]),
        ("sngan", ["ema_decay=0.9", "discriminator_steps=2"]),
    ],
)
def test_stopped_and_resumed_is_uninterrupted_bit_for_bit(
    variant: str, overrides: list[str], images: np.ndarray, tmp_path: Path
) -> None:
    config = configuration(variant, *overrides)
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


def test_the_best_generator_is_that_of_the_lowest_value_also_after_an_interruption(
    images: np.ndarray, tmp_path: Path
) -> None:
    config = configuration("wgan", "discriminator_steps=1")
    values = {0: 1.0, 1: 9.0, 2: 3.0, 5: 4.0, 6: 5.0}  # an untrained generator is measured, and never the best
    at_two, _ = run(config, images, tmp_path / "two", stop_after=2)

    def scripted(steps: list[int]) -> Evaluation:
        left = iter([values[step] for step in steps])
        return Evaluation([1, 2, 5, 6], lambda _network: {"curve/value": next(left)}, "curve/value")

    _, begun = run(config, images, tmp_path / "whole", stop_after=4, evaluation=scripted([0, 1, 2]))
    assert [(step, v["curve/value"]) for step, v in begun.points if "curve/value" in v] == [(0, 1), (1, 9), (2, 3)]
    outcome, record = run(config, images, tmp_path / "whole", evaluation=scripted([5, 6]))
    assert (outcome.state.best_value, outcome.state.best_step) == (3.0, 2)
    assert [(step, v["curve/value"]) for step, v in record.points if "curve/value" in v] == [(5, 4.0), (6, 5.0)]
    best = best_generator(outcome.state, Checkpoints(tmp_path / "whole", "test"))
    assert best is not None
    _assert_equal(best.state_dict(), at_two.state.generator.state_dict())
    assert not torch.equal(next(best.parameters()), next(outcome.state.generator.parameters()))


def test_what_a_checkpoint_has_passed_is_stored_before_it(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill right after a checkpoint would leave a gap otherwise."""
    monkeypatch.setattr("gan.training.CHECKPOINT_SECONDS", 0.0)
    waiting: list[int] = []

    class Buffering(Recorder):
        def flush(self) -> None:
            self.points.clear()

    recorder = Buffering()

    class Watched(Checkpoints):
        def save(self, step: int, content: dict[str, Any], *, best_step: int = 0) -> None:
            waiting.append(len(recorder.points))
            super().save(step, content, best_step=best_step)

    config = configuration("wgan", "max_steps=3")
    train(config, images, seed=3, device=CPU, checkpoints=Watched(tmp_path, "test"), observer=recorder)
    assert waiting == [0, 0, 0]


def test_measuring_during_training_changes_nothing(images: np.ndarray, tmp_path: Path) -> None:
    config = configuration("wgan_sgd", "discriminator_steps=1", "max_steps=3")

    def measure(network: nn.Module) -> dict[str, float]:
        (samples,) = sample(network, seed=2000, num=4, latent_size=100, device=CPU)
        return {"curve/value": float(samples.float().mean())}

    plain, _ = run(config, images, tmp_path / "plain")
    measured, _ = run(config, images, tmp_path / "measured", evaluation=Evaluation([1, 2, 3], measure, "curve/value"))
    for first, second in zip(plain.state.tensors(), measured.state.tensors(), strict=True):
        assert torch.equal(first, second)


def test_the_same_seed_gives_the_same_and_another_seed_another_result(images: np.ndarray, tmp_path: Path) -> None:
    config = configuration("dcgan", "max_steps=2")
    first, again, other = (run(config, images, tmp_path / str(i), seed=seed) for i, seed in enumerate((3, 3, 4)))
    assert first[1].points == again[1].points
    assert first[1].points != other[1].points


def test_what_is_done_is_counted(images: np.ndarray, tmp_path: Path) -> None:
    outcome, record = run(configuration("wgan"), images, tmp_path)
    assert outcome.state.step == NUM_STEPS
    assert outcome.state.images_seen == 4 + 4 + 3 + 4 + 4 + 3
    with_generator = [step for step, values in record.points if "train/loss_generator" in values]
    assert with_generator == [5]
    assert record.grids[0][0] == 0
    assert record.grids[-1][0] == NUM_STEPS
    limits = [parameter.abs().max().item() for parameter in outcome.state.discriminator.parameters()]
    assert max(limits) == pytest.approx(0.01, abs=1e-9)


def test_normalisation_can_be_left_out_of_the_clipping(images: np.ndarray, tmp_path: Path) -> None:
    """Scales of BatchNorm start near 1, and a few steps of RMSprop leave them there: no clamp reaches them."""
    config = configuration("wgan", "clip_normalization=false")
    outcome, record = run(config, images, tmp_path)
    discriminator = outcome.state.discriminator
    norms = [module for module in discriminator.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 3
    assert all((norm.weight - 1).abs().max() < 0.2 for norm in norms)
    left_out = {id(parameter) for norm in norms for parameter in norm.parameters()}
    clipped = [parameter for parameter in discriminator.parameters() if id(parameter) not in left_out]
    assert max(parameter.abs().max().item() for parameter in clipped) == pytest.approx(0.01, abs=1e-9)
    at_bound = sum(int((parameter.abs() >= 0.01).sum()) for parameter in clipped)
    share = [values["health/clipped_share"] for _, values in record.points if "health/clipped_share" in values][-1]
    assert share == pytest.approx(at_bound / sum(parameter.numel() for parameter in clipped))


def test_discriminator_outputs_are_those_of_the_described_model(images: np.ndarray, tmp_path: Path) -> None:
    _, record = run(configuration("dcgan", "max_steps=1"), images, tmp_path)
    (values,) = curve(record)
    assert 0 < values["train/real_output"] < 1
    assert 0 < values["train/fake_output"] < 1


def test_a_training_that_diverges_says_so(images: np.ndarray, tmp_path: Path) -> None:
    optimizer = "optimizer={name: sgd, lr: 1e6, momentum: 0.9}"
    config = configuration("wgan", optimizer, "weight_clip=null", "discriminator_steps=1")
    outcome, _ = run(config, images, tmp_path)
    assert outcome.diverged
    assert not outcome.finished


def test_a_generator_whose_images_are_not_finite_has_diverged(images: np.ndarray, tmp_path: Path) -> None:
    """Its losses can be finite until the next step."""

    calls = iter([False, True])  # before the first step, and after the second

    def break_network(network: nn.Module) -> dict[str, float]:
        if next(calls):
            next(network.parameters()).data.fill_(float("nan"))
        (samples,) = sample(network, seed=2000, num=4, latent_size=100, device=CPU)
        return {"curve/value": float(samples.float().mean())}

    evaluation = Evaluation([2], break_network, "curve/value")
    outcome, record = run(configuration("dcgan"), images, tmp_path, evaluation=evaluation)
    assert (outcome.diverged, outcome.finished, outcome.state.step) == (True, False, 2)
    assert [step for step, values in record.points if "curve/value" in values] == [0]


def test_the_clock_of_a_training_stops_while_it_is_measured_and_goes_on_after_an_interruption(
    images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a second here, and a measurement a thousand."""
    now = 0.0

    class Ticking(Recorder):
        def progress(self, step: int, num_images: int) -> None:
            nonlocal now
            now += 1
            super().progress(step, num_images)

        def samples(self, step: int, images: Tensor) -> None:
            nonlocal now
            now += 1000

    def measure(network: nn.Module) -> dict[str, float]:
        nonlocal now
        now += 1000
        return {"curve/value": 1.0}

    monkeypatch.setattr("gan.training.time.perf_counter", lambda: now)
    seconds: list[tuple[int, float]] = []
    for stop_after in (4, None):
        recorder = Ticking()
        now += 12345  # from one process to the next
        outcome = train(
            configuration("wgan"), images, seed=3, device=CPU, checkpoints=Checkpoints(tmp_path, "test"),
            observer=recorder, evaluation=Evaluation([2, 6], measure, "curve/value"),
            stopping=lambda last=stop_after, told=recorder: told.steps[-1:] == [last],  # type: ignore[misc]
        )  # fmt: skip
        seconds += recorder.seconds
    assert outcome.state.seconds == 6
    assert dict(seconds) == {step: step for step in range(7)}


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="64 x 64 x 3, the dataset has 32 x 32 x 3"):
        run(configuration("dcgan"), np.zeros((20, 32, 32, 3), dtype=np.uint8), tmp_path)


@pytest.mark.parametrize(("num_images", "steps"), [(128, 2), (129, 2), (130, 3), (2, 1), (3, 1)])
def test_a_last_batch_of_one_image_is_left_out(num_images: int, steps: int) -> None:
    assert load_experiment("dcgan").steps_per_epoch(num_images) == steps


def test_one_image_is_too_few() -> None:
    with pytest.raises(UserError, match="at least 2"):
        load_experiment("dcgan").steps_per_epoch(1)
