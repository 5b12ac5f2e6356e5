"""The networks are those of the reports: parameter counts and output shapes are printed there."""

import pytest
import torch

from gan.losses import LOSSES
from pipeline.config import load_experiment
from pipeline.show import layers, networks, show

GENERATOR_K5 = [(8192,)] * 3 + [(512, 4, 4)] + [(256, 8, 8)] * 3 + [(128, 16, 16)] * 3 + [(64, 32, 32)] * 3
GENERATOR_K5 += [(3, 64, 64)] * 2
GENERATOR_K3 = [(6400,)] + [(256, 5, 5)] * 3 + [(256, 9, 9)] * 6 + [(256, 17, 17)] * 6 + [(128, 33, 33)] * 3
GENERATOR_K3 += [(64, 64, 64)] * 3 + [(3, 64, 64)] * 2
CONV_HEAD = [(64, 32, 32)] * 2 + [(128, 16, 16)] * 3 + [(256, 8, 8)] * 3 + [(512, 4, 4)] * 3 + [(1, 1, 1)] + [(1,)] * 2
LINEAR_HEAD = [(64, 32, 32)] * 2 + [(128, 16, 16)] * 4 + [(256, 8, 8)] * 4 + [(512, 4, 4)] * 4 + [(8192,)] + [(1,)] * 2


@pytest.mark.parametrize(
    ("variant", "generator", "discriminator", "steps", "updates", "generator_shapes", "discriminator_shapes"),
    [
        ("dcgan", 5_142_083, 4_316_545, 16_020, 16_020, GENERATOR_K5, CONV_HEAD),
        ("wgan", 5_142_083, 4_316_545, 40_050, 8_010, GENERATOR_K5, CONV_HEAD),
        ("dcgan_51", 5_142_083, 4_316_545, 40_851, 40_851, GENERATOR_K5, CONV_HEAD),
        ("wgan_sgd", 3_380_227, 4_316_545, 81_651, 16_330, GENERATOR_K3, LINEAR_HEAD),
    ],
)
def test_networks_and_steps_are_those_of_the_reports(
    variant: str,
    generator: int,
    discriminator: int,
    steps: int,
    updates: int,
    generator_shapes: list[tuple[int, ...]],
    discriminator_shapes: list[tuple[int, ...]],
) -> None:
    found = show(load_experiment(variant), num_images=51_223)
    assert found["networks"]["generator"]["parameters"] == generator
    assert found["networks"]["discriminator"]["parameters"] == discriminator
    assert [tuple(x["shape"]) for x in found["networks"]["generator"]["layers"]] == generator_shapes
    assert [tuple(x["shape"]) for x in found["networks"]["discriminator"]["layers"]] == discriminator_shapes
    assert (found["steps"], found["generator_updates"]) == (steps, updates)


@pytest.mark.parametrize("variant", ["dcgan", "wgan", "wgan_sgd"])
def test_torch_itself_counts_the_same_parameters_as_the_layer_table(variant: str) -> None:
    config = load_experiment(variant)
    for name, (network, _) in networks(config).items():
        table = show(config, 51_223)["networks"][name]["parameters"]
        assert sum(parameter.numel() for parameter in network.parameters()) == table


def test_the_described_discriminator_puts_out_the_sigmoid_of_its_logits() -> None:
    config = load_experiment("dcgan")
    discriminator = config.discriminator.build(LOSSES["bce"].output()).eval()
    images = torch.randn(4, 3, 64, 64)
    expected = 1 / (1 + torch.exp(-discriminator.logits(images)))
    torch.testing.assert_close(discriminator(images).flatten(), expected)


def test_only_wgan_sgd_has_dropout() -> None:
    counts = {}
    for variant in ("dcgan", "wgan", "dcgan_51", "wgan_sgd"):
        discriminator = networks(load_experiment(variant))["discriminator"]
        counts[variant] = [layer.name for layer in layers(*discriminator)].count("Dropout2d")
    assert counts == {"dcgan": 0, "wgan": 0, "dcgan_51": 0, "wgan_sgd": 3}
