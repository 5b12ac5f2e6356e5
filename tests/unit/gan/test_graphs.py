"""Recorded steps are the steps themselves. Without CUDA a recording is played by running the recorded work again."""

import numpy as np
import pytest
import torch

from gan.feed import Feed
from gan.graphs import RecordedSteps, Work, preserved, record_on_cuda
from gan.precision import autocast
from gan.state import State, build
from gan.step import Rates, train_step, updates_generator
from gan.training import steps_of
from pipeline.config import load_experiment

CPU = torch.device("cpu")
VARIANTS = [
    ("dcgan", []),
    ("wgan", ["discriminator_steps=2"]),
    (
        "wgan_sgd",
        ["discriminator_steps=2", "optimizer.momentum=0.9", "schedule={name: linear, start: 0.1, final: 0.5}"],
    ),
    ("wgan_gp", ["discriminator_steps=2"]),
    ("sngan", ["discriminator_steps=2", "ema_decay=0.9", "gradient_penalty={name: r1, weight: 1.0}"]),
]


def record_by_running(work: Work) -> Work:
    work()
    return work


def trained(variant: str, overrides: list[str], device: torch.device, *, recorded: bool) -> State:
    """Train seven steps; the last batch of an epoch is smaller."""
    config = load_experiment(variant, ["batch_size=4", "precision=fp32", *overrides])
    images = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    state = build(config, 0, device)
    rates, exact = Rates(config, 7, device), autocast("fp32", device)
    record = record_on_cuda if device.type == "cuda" else record_by_running
    replayed = RecordedSteps(
        lambda inputs: train_step(config, state, inputs, rates, exact),
        state,
        lambda step: updates_generator(config, step),
        record,
    )
    for inputs in Feed(images, config, 0, device).steps(1, 7):
        rates.set(state, inputs.step)
        if recorded:
            replayed(inputs)
        else:
            torch.manual_seed(inputs.noise_seed)
            train_step(config, state, inputs, rates, exact)
        state.step = inputs.step
    assert not recorded or len(replayed.recordings) == (2 if variant == "dcgan" else 4)
    return state


@pytest.mark.parametrize(("variant", "overrides"), VARIANTS)
def test_recorded_steps_equal_eager_ones_bit_for_bit(variant: str, overrides: list[str]) -> None:
    eager = trained(variant, overrides, CPU, recorded=False)
    recorded = trained(variant, overrides, CPU, recorded=True)
    for first, second in zip(eager.tensors(), recorded.tensors(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("variant", "overrides"), VARIANTS)
def test_graphs_equal_eager_steps_on_cuda(variant: str, overrides: list[str]) -> None:
    device = torch.device("cuda")
    eager = trained(variant, overrides, device, recorded=False)
    recorded = trained(variant, overrides, device, recorded=True)
    for first, second in zip(eager.tensors(), recorded.tensors(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_the_engine_runs_on_cuda_without_reading_back(precision: str) -> None:
    device = torch.device("cuda")
    config = load_experiment("wgan_sgd", ["batch_size=4", f"precision={precision}"])
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    state = build(config, 0, device)
    take = steps_of(config, state, 10, device)
    steps = list(Feed(images, config, 0, device).steps(1, 10))
    for inputs in steps[:5]:  # both kinds are recorded
        take(inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for inputs in steps[5:]:
            take(inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.sums.isfinite().all()


def test_what_a_warm_up_changes_is_put_back_in_place() -> None:
    config = load_experiment("dcgan", ["batch_size=4", "precision=fp32"])
    images = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    state = build(config, 0, CPU)
    first, second = Feed(images, config, 0, CPU).steps(1, 2)
    rates, exact = Rates(config, 2, CPU), autocast("fp32", CPU)
    train_step(config, state, first, rates, exact)
    before = {id(tensor): tensor.detach().clone() for tensor in state.tensors()}
    with preserved(state):
        train_step(config, state, second, rates, exact)
        changed = [tensor for tensor in state.tensors() if not torch.equal(tensor, before[id(tensor)])]
        assert len(changed) > 50
    assert all(torch.equal(tensor, before[id(tensor)]) for tensor in state.tensors())
