"""Checkpoints that somebody wrote by hand, with a checksum that fits: one line, and nothing of them is used."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gan.checkpoints import Checkpoints
from gan.errors import UserError
from gan.state import State, build
from gan.training import best_generator
from gan.training import train as train_gan
from pipeline.config import load_experiment
from tests.unit.gan.test_training import Recorder

CPU = torch.device("cpu")
CONFIG = load_experiment("dcgan", ["batch_size=2", "max_steps=1"])
IMAGES = np.zeros((2, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """What a checkpoint holds after a step."""
    state = build(CONFIG, 0, CPU)
    for network, optimizer in (
        (state.generator, state.generator_optimizer),
        (state.discriminator, state.discriminator_optimizer),
    ):
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
    return state.to_dict()


def damaged(content: dict[str, Any], damage: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    optimizer = {index: dict(values) for index, values in content["generator_optimizer"].items()}
    copy = content | {"generator_optimizer": optimizer, "generator": dict(content["generator"])}
    damage(copy)
    return copy


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing there": lambda content: content.clear(),
    "no optimizer": lambda content: content.pop("generator_optimizer"),
    "weights of another shape": lambda content: content["generator"].update({"0.weight": torch.zeros(3)}),
    "weights by number": lambda content: content["generator"].update({0: torch.zeros(3)}),
    "weights are none": lambda content: content.update(generator=[1]),
    "moments of another shape": lambda content: content["generator_optimizer"][0].update(exp_avg=torch.zeros(1, 3)),
    "moments of no parameter": lambda content: content["generator_optimizer"].update(
        {999: {"step": torch.tensor(1.0)}}
    ),
    "step is a text": lambda content: content.update(step="1"),
    "step is negative": lambda content: content.update(step=-1),
    "step is true": lambda content: content.update(step=True),
    "last is a list": lambda content: content.update(last=[]),
    "sums of another shape": lambda content: content.update(sums=torch.zeros(1000)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_training_does_not_go_on_from_it(damage: str, content: dict[str, Any], tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "f")
    checkpoints.save(1, damaged(content, DAMAGES[damage]))
    with pytest.raises(
        UserError, match=r"the newest checkpoint does not fit the networks .*Delete the folder"
    ) as refused:
        train_gan(CONFIG, IMAGES, seed=0, device=CPU, checkpoints=checkpoints, observer=Recorder())
    assert str(tmp_path) in str(refused.value)


def test_what_an_optimizer_remembers_has_a_memory_of_its_own(content: dict[str, Any]) -> None:
    """A tensor of one value that says it is as large as the parameter: kernels would write beyond its memory."""
    state = build(CONFIG, 0, CPU)
    parameter = next(state.generator.parameters())
    small = torch.ones(1).expand(parameter.shape)
    whole = damaged(content, lambda each: each["generator_optimizer"][0].update(exp_avg=small))
    state.load_dict(whole)
    found = state.generator_optimizer.state[parameter]["exp_avg"]
    assert found.untyped_storage().nbytes() >= found.numel() * found.element_size()
    assert found.stride() == parameter.stride()
    assert (found == 1).all()


def test_the_untouched_one_is_taken_over_bit_for_bit(content: dict[str, Any]) -> None:
    state = build(CONFIG, 1, CPU)
    state.load_dict(deepcopy(content))
    again = state.to_dict()
    for index, values in content["generator_optimizer"].items():
        for key, value in values.items():
            assert torch.equal(again["generator_optimizer"][index][key], value), (index, key)
            assert again["generator_optimizer"][index][key].stride() == value.stride()


def test_the_best_generator_of_another_network_is_none(content: dict[str, Any], tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "f")
    checkpoints.save(1, damaged(content, DAMAGES["weights of another shape"]))
    state: State = build(CONFIG, 0, CPU)
    state.best_step = 1
    assert best_generator(state, checkpoints) is None
