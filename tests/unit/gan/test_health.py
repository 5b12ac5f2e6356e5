"""The watch on health: closed-form values and directions."""

import math

import pytest
import torch
from torch import nn

from gan.health import FLAGS, REMARKS, clipped_share, diversity, flags, gradient_norms, layer_names, saturation
from gan.losses import LOSSES
from gan.state import build
from pipeline.config import load_experiment


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_binary_cross_entropy_saturates_where_the_discriminator_is_99_percent_sure() -> None:
    real = torch.tensor([logit(0.995), logit(0.985), logit(0.5), -20.0])
    fake = torch.tensor([logit(0.005), logit(0.015), 20.0, -20.0])
    assert saturation(LOSSES["bce"], real, fake).item() == pytest.approx((1 / 4 + 2 / 4) / 2)


def test_the_hinge_loss_saturates_beyond_its_margin_and_wasserstein_never() -> None:
    real, fake = torch.tensor([0.9, 1.1, 50.0]), torch.tensor([-0.9, -1.1, 5.0])
    assert saturation(LOSSES["hinge"], real, fake).item() == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert saturation(LOSSES["wasserstein"], 1e6 * real, 1e6 * fake).item() == 0


def test_saturation_leaves_no_trace_in_the_graph() -> None:
    weight = torch.tensor([2.0], requires_grad=True)
    with torch.no_grad():
        share = saturation(LOSSES["bce"], weight * torch.ones(3), torch.zeros(3))
    assert not share.requires_grad
    assert weight.grad is None


def test_the_share_at_the_clip_bound() -> None:
    network = nn.Linear(3, 2)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[0.01, -0.01, 0.0], [0.005, 0.0099, -0.01]]))
        network.bias.copy_(torch.tensor([0.01, 0.0]))
    assert clipped_share(list(network.parameters()), 0.01) == pytest.approx(4 / 8)


def test_diversity_is_the_deviation_over_images_of_averaged_places() -> None:
    black, white = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.full((3, 64, 64), 255, dtype=torch.uint8)
    assert diversity(torch.stack([black, white])) == pytest.approx(127.5)
    assert diversity(torch.stack([white, white, white])) == 0


def test_noise_on_one_image_is_no_diversity() -> None:
    generator = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 256, (64, 3, 8, 8), generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    noise = torch.randint(0, 256, (64, 3, 64, 64), generator=generator)
    real = diversity(faces.to(torch.uint8))
    assert real == pytest.approx(math.sqrt((256**2 - 1) / 12), rel=0.05)
    assert diversity(noise.to(torch.uint8)) == pytest.approx(real / 8, rel=0.1)  # the mean of 64 numbers


@pytest.mark.parametrize("variant", ["dcgan", "wgan_sgd", "sngan"])
def test_layers_are_named_in_order(variant: str) -> None:
    state = build(load_experiment(variant), 0, torch.device("cpu"))
    names = list(layer_names(state.discriminator).values())
    assert names[:4] == ["1_conv2d", "2_conv2d", "3_conv2d", "4_conv2d"]
    assert names[4] == {"dcgan": "5_conv2d"}.get(variant, "5_linear")
    assert next(iter(layer_names(state.generator).values())) == "1_linear"


def test_gradient_norms_are_those_of_the_layers() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    network(torch.ones(5, 2)).sum().backward()
    names = layer_names(network)
    found = gradient_norms(network, names)
    gradients = [parameter.grad for name, parameter in network.named_parameters() if name.endswith("weight")]
    expected = [gradient.norm() for gradient in gradients if gradient is not None]
    torch.testing.assert_close(torch.stack(found), torch.stack(expected))


@pytest.mark.parametrize(
    ("last", "raised"),
    [
        ({"health/diversity": 0.8, "health/saturation": 0.5, "health/generator_gradient": 1.0}, []),
        ({"health/diversity": 0.05}, ["low diversity"]),
        ({"health/diversity": 0.8, "health/saturation": 0.99}, ["saturated"]),
        ({"health/diversity": 0.01, "health/generator_gradient": 0.0}, ["low diversity", "stalled"]),
        ({}, []),
    ],
)
def test_flags(last: dict[str, float], raised: list[str]) -> None:
    assert flags(last) == raised
    assert FLAGS.keys() == REMARKS.keys()
