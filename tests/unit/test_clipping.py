"""benchmarks/clipping.py against a gradient that is computed by hand, and where there is nothing to clip."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import clipping
from gan.randomness import Stream, step_latents
from gan.state import build
from pipeline.config import load_experiment

CONFIG = replace(load_experiment("wgan"), batch_size=4)


def test_a_limit_above_all_weights_changes_nothing() -> None:
    found = clipping.gradients(replace(CONFIG, weight_clip=10.0), 0)
    assert set(found.values()) == {found["as initialised"]}
    assert found["as initialised"] > 0


@pytest.mark.parametrize("part", ["BatchNorm clipped", "all clipped"])
def test_the_gradient_by_hand(part: str) -> None:
    state = build(CONFIG, 3, torch.device("cpu"))
    with torch.no_grad():
        for module in state.discriminator.modules():
            if isinstance(module, nn.BatchNorm2d) or (part == "all clipped" and isinstance(module, nn.Conv2d)):
                assert module.bias is not None
                module.weight.copy_(module.weight.clip(-0.01, 0.01))
                module.bias.copy_(module.bias.clip(-0.01, 0.01))
    latents = step_latents(3, Stream.LATENTS, 1, 4, 100)
    (-state.discriminator.logits(state.generator(latents)).mean()).backward()
    gradients = [parameter.grad for parameter in state.generator.parameters()]
    norm = sum(float((each**2).sum()) for each in gradients if each is not None) ** 0.5
    assert clipping.gradients(CONFIG, 3)[part] == pytest.approx(norm, rel=1e-4)
