"""The networks are those of the reports: parameter counts and output shapes are printed there."""

from collections import Counter
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrizations import _SpectralNorm

from gan.initializations import INITIALIZATIONS
from gan.losses import LOSSES
from gan.models.dcgan_k5 import NORMALIZATIONS, DiscriminatorK5, DiscriminatorK5Config, Head, Normalization
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


def discriminator_of(
    *, head: Head = "conv", normalization: Normalization = "batch", spectral_norm: bool = False
) -> DiscriminatorK5:
    """Return a discriminator as a training builds it."""
    torch.manual_seed(0)
    config = DiscriminatorK5Config("dcgan_k5", 0.0, head, normalization, spectral_norm)
    discriminator = config.build(nn.Identity())
    discriminator.apply(INITIALIZATIONS["normal_002"])
    config.finish(discriminator)
    return discriminator


def images(num: int = 4) -> torch.Tensor:
    return torch.randn(num, 3, 64, 64, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


@pytest.mark.parametrize("head", ["conv", "linear"])
@pytest.mark.parametrize(
    ("normalization", "parameters"), [("batch", 4_316_545), ("layer", 4_316_545), ("none", 4_316_545 - 2 * 896)]
)
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_parameters_of_the_discriminators(
    head: Head, normalization: Normalization, parameters: int, spectral_norm: bool
) -> None:
    discriminator = discriminator_of(head=head, normalization=normalization, spectral_norm=spectral_norm)
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == parameters
    assert discriminator.logits(images(2)).shape == (2,)
    assert discriminator(images(2)).shape == (2, 1)


def test_every_normalization_of_the_table_can_be_chosen_and_stands_where_it_is_said() -> None:
    assert tuple(NORMALIZATIONS) == get_args(Normalization)
    kinds = {
        name: Counter(type(m).__name__ for m in discriminator_of(normalization=name).modules())
        for name in NORMALIZATIONS
    }
    assert [(kinds[name]["BatchNorm2d"], kinds[name]["GroupNorm"]) for name in kinds] == [(3, 0), (0, 3), (0, 0)]


def test_layer_norm_is_of_each_image_alone_and_starts_neutral() -> None:
    discriminator = discriminator_of(normalization="layer")
    layers = [module for module in discriminator.modules() if isinstance(module, nn.GroupNorm)]
    assert all((layer.weight == 1).all() and (layer.bias == 0).all() for layer in layers)
    values = torch.randn(2, 128, 16, 16)
    expected = nn.functional.layer_norm(values, values.shape[1:])
    torch.testing.assert_close(layers[0](values), expected)
    together, alone = discriminator.logits(images(4)), discriminator.logits(images(4)[:1])
    torch.testing.assert_close(together[:1], alone)


def weight_matrices(discriminator: DiscriminatorK5) -> list[torch.Tensor]:
    layers = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [layer.weight.detach().flatten(1) for layer in layers]


@pytest.mark.parametrize("head", ["conv", "linear"])
def test_spectral_norm_makes_the_largest_singular_value_of_every_layer_one(head: Head) -> None:
    discriminator = discriminator_of(head=head, normalization="none", spectral_norm=True)
    for _ in range(30):
        discriminator.logits(images(2))
    discriminator.eval()
    norms = [float(torch.linalg.matrix_norm(matrix, ord=2)) for matrix in weight_matrices(discriminator)]
    assert norms == pytest.approx([1.0] * 5, rel=0.02)


def test_spectral_norm_divides_the_initial_weights_by_their_largest_singular_value() -> None:
    plain, normalized = discriminator_of(), discriminator_of(spectral_norm=True)
    for before, after in zip(weight_matrices(plain), weight_matrices(normalized.eval()), strict=True):
        torch.testing.assert_close(after, before / torch.linalg.matrix_norm(before, ord=2), rtol=0.05, atol=0.0)


def test_without_spectral_norm_nothing_is_added() -> None:
    discriminator = discriminator_of()
    assert not any("parametrizations" in name for name in discriminator.state_dict())


def test_singular_vectors_are_computed_outside_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor autocast would leave them alone; on CUDA it would not."""
    modes = []

    class Norm(_SpectralNorm):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            modes.append(torch.is_autocast_enabled("cpu"))
            return super().forward(weight)

    monkeypatch.setattr(parametrizations, "_SpectralNorm", Norm)
    discriminator = discriminator_of(spectral_norm=True)
    modes.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        discriminator.logits(images(2))
    assert modes == [False] * 5


@pytest.mark.parametrize("normalization", ["batch", "layer", "none"])
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_logits_are_float32_under_autocast_and_close(normalization: Normalization, spectral_norm: bool) -> None:
    discriminator = discriminator_of(normalization=normalization, spectral_norm=spectral_norm)
    twin = discriminator_of(normalization=normalization, spectral_norm=spectral_norm)
    exact = discriminator.logits(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = twin.logits(images())
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, rounded.bfloat16().float())
    torch.testing.assert_close(rounded, exact, rtol=0.0, atol=0.02 * float(exact.detach().abs().max()))
    for name, buffer in twin.named_buffers():  # singular vectors are as exact as without autocast
        if name.endswith(("_u", "_v")):
            assert torch.equal(buffer, discriminator.get_buffer(name))


def test_double_precision_stays_double() -> None:
    assert discriminator_of(spectral_norm=True).double().logits(images().double()).dtype == torch.float64


def test_both_passes_of_a_discriminator_step_differentiate_under_spectral_norm() -> None:
    discriminator = discriminator_of(normalization="none", spectral_norm=True)
    loss = LOSSES["hinge"].discriminator(discriminator.logits(images()), discriminator.logits(-images()))
    loss.backward()
    assert all(parameter.grad is not None for parameter in discriminator.parameters())
