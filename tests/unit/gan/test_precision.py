"""Number formats: what auto means, what stays float32, and how far bfloat16 strays."""

import numpy as np
import pytest
import torch

from gan.errors import UserError
from gan.feed import Feed
from gan.precision import autocast, resolve_precision
from gan.schema import PRECISIONS
from gan.state import State, build
from gan.training import steps_of, take_means
from pipeline.config import load_experiment

CPU = torch.device("cpu")


def trained(precision: str, variant: str, num_steps: int) -> tuple[State, dict[str, float]]:
    config = load_experiment(variant, ["batch_size=4", f"precision={precision}", "discriminator_steps=1"])
    images = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    state = build(config, 0, CPU)
    take = steps_of(config, state, num_steps, CPU)
    for inputs in Feed(images, config, 0, CPU).steps(1, num_steps):
        take(inputs)
        state.step = inputs.step
    return state, take_means(config, state)


def test_auto_is_what_the_processor_is_fast_at(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_tiles, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda found=has_tiles: found)
        assert resolve_precision("auto", CPU) == expected
    assert [resolve_precision(name, CPU) for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert set(PRECISIONS) == {"auto", "fp32", "tf32", "bf16"}


def test_tf32_needs_cuda() -> None:
    with pytest.raises(UserError, match=r"--precision tf32 needs a CUDA device.*Use fp32 or auto"):
        resolve_precision("tf32", CPU)


@pytest.mark.slow
def test_bfloat16_follows_float32_with_float32_weights() -> None:
    """Two steps: products have eight bits, so the losses agree to about one percent of their scale."""
    (exact, means), (rounded, rounded_means) = (trained(name, "dcgan", 2) for name in ("fp32", "bf16"))
    assert {tensor.dtype for tensor in rounded.tensors() if tensor.is_floating_point()} == {
        torch.float32,
        torch.float64,
    }
    for name in ("train/loss_discriminator", "train/loss_generator"):
        assert rounded_means[name] == pytest.approx(means[name], rel=0.1, abs=0.1)
        assert rounded_means[name] != means[name]
    for a, b in zip(exact.generator.parameters(), rounded.generator.parameters(), strict=True):
        assert (a - b).norm() <= 0.05 * a.norm() + 0.01


def test_float32_is_left_alone() -> None:
    with autocast("fp32", CPU)():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.float32
    with autocast("bf16", CPU)():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16
