"""Losses against their closed forms."""

import math

import pytest
import torch

from gan.losses import LOSSES


def test_bce_of_an_undecided_discriminator() -> None:
    zeros = torch.zeros(8)
    assert LOSSES["bce"].discriminator(zeros, zeros).item() == pytest.approx(2 * math.log(2), rel=1e-6)
    assert LOSSES["bce"].generator(zeros).item() == pytest.approx(math.log(2), rel=1e-6)


def test_bce_is_the_loss_on_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    expected = -(torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(fake)).mean())
    torch.testing.assert_close(LOSSES["bce"].discriminator(real, fake), expected)
    torch.testing.assert_close(LOSSES["bce"].generator(fake), -torch.log(torch.sigmoid(fake)).mean())


def test_wasserstein_is_the_difference_of_means() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, 0.0])
    assert LOSSES["wasserstein"].discriminator(real, fake).item() == pytest.approx(-2.5)
    assert LOSSES["wasserstein"].generator(fake).item() == pytest.approx(0.5)


def test_hinge_counts_what_lies_inside_the_margins() -> None:
    real = torch.tensor([-2.0, 0.5, 1.0, 3.0], requires_grad=True)
    fake = torch.tensor([-3.0, -0.5, 2.0, 0.0], requires_grad=True)
    loss = LOSSES["hinge"].discriminator(real, fake)
    assert loss.item() == pytest.approx((3 + 0.5 + 0 + 0) / 4 + (0 + 0.5 + 3 + 1) / 4)
    real_gradient, fake_gradient = torch.autograd.grad(loss, (real, fake))
    assert real_gradient.tolist() == [-0.25, -0.25, 0.0, 0.0]
    assert fake_gradient.tolist() == [0.0, 0.25, 0.25, 0.25]


def test_hinge_of_the_generator_has_no_margin() -> None:
    fake = torch.tensor([-3.0, 5.0], requires_grad=True)
    loss = LOSSES["hinge"].generator(fake)
    assert loss.item() == pytest.approx(-1.0)
    (gradient,) = torch.autograd.grad(loss, fake)
    assert gradient.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_both_sides_pull_in_opposite_directions(name: str) -> None:
    """A step against the gradient raises real logits, lowers fake ones for D and raises them for G."""
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    loss = LOSSES[name]
    real_gradient, fake_gradient = torch.autograd.grad(loss.discriminator(real, fake), (real, fake))
    (generator_gradient,) = torch.autograd.grad(loss.generator(fake), fake)
    assert (real_gradient < 0).all()
    assert (fake_gradient > 0).all()
    assert (generator_gradient < 0).all()
