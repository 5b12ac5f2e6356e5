"""Gradient penalties against their closed forms."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gan.penalties import R1, PenaltyConfig, WassersteinGP

WEIGHT = 10.0
PENALTIES: list[PenaltyConfig] = [
    WassersteinGP(name="wgan_gp", weight=WEIGHT),
    R1(name="r1", weight=WEIGHT),
]
WASSERSTEIN_GP, R1_PENALTY = PENALTIES


def images(seed: int, num: int = 5) -> Tensor:
    return torch.randn(num, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(num: int = 5) -> Tensor:
    return torch.rand(num, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def linear(weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the critic whose gradient is `weights` everywhere."""
    return lambda x: (x * weights).sum(dim=(1, 2, 3))


def quadratic(x: Tensor) -> Tensor:
    """A critic whose gradient is the image itself."""
    return x.square().sum(dim=(1, 2, 3)) / 2


@pytest.mark.parametrize("scale", [0.05, 1.0, 3.0])
def test_wgan_gp_of_a_linear_critic(scale: float) -> None:
    weights = (scale * images(1, 1)[0]).requires_grad_()
    penalty = WASSERSTEIN_GP.penalty(linear(weights), images(2), images(3), uniform())
    norm = weights.detach().norm()
    torch.testing.assert_close(penalty.detach(), WEIGHT * (norm - 1) ** 2)
    (gradient,) = torch.autograd.grad(penalty, weights)
    torch.testing.assert_close(gradient, 2 * WEIGHT * (norm - 1) * weights.detach() / norm)


def test_r1_of_a_linear_critic() -> None:
    weights = images(1, 1)[0].requires_grad_()
    penalty = R1_PENALTY.penalty(linear(weights), images(2), images(3), uniform())
    torch.testing.assert_close(penalty.detach(), WEIGHT / 2 * weights.detach().square().sum())
    (gradient,) = torch.autograd.grad(penalty, weights)
    torch.testing.assert_close(gradient, WEIGHT * weights.detach())


def test_wgan_gp_is_taken_between_each_real_image_and_its_fake_one() -> None:
    real, fake, shares = images(2), images(3), uniform()
    norms = torch.stack([(u * r + (1 - u) * f).norm() for u, r, f in zip(shares, real, fake, strict=True)])
    penalty = WASSERSTEIN_GP.penalty(quadratic, real, fake, shares)
    torch.testing.assert_close(penalty, WEIGHT * (norms - 1).square().mean())


def test_r1_is_taken_at_real_images_alone() -> None:
    real = images(2)
    penalty = R1_PENALTY.penalty(quadratic, real, images(3), uniform())
    torch.testing.assert_close(penalty, WEIGHT / 2 * real.square().sum(dim=(1, 2, 3)).mean())


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda each: each.name)
def test_gradients_of_the_parameters_are_those_of_finite_differences(penalty: PenaltyConfig) -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 2, 3), nn.GroupNorm(1, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 1)).double()
    names = [name for name, _ in critic.named_parameters()]

    def value(*parameters: Tensor) -> Tensor:
        def logits_of(x: Tensor) -> Tensor:
            logits: Tensor = torch.func.functional_call(critic, dict(zip(names, parameters, strict=True)), x)
            return logits.flatten()

        return penalty.penalty(logits_of, images(2), images(3), uniform())

    assert torch.autograd.gradcheck(value, tuple(critic.parameters()))


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda each: each.name)
def test_no_gradient_reaches_the_images(penalty: PenaltyConfig) -> None:
    weights = images(1, 1)[0].requires_grad_()
    real, fake = images(2).requires_grad_(), images(3).requires_grad_()
    penalty.penalty(lambda x: quadratic(x * weights), real, fake, uniform()).backward()
    assert (real.grad, fake.grad) == (None, None)
    assert weights.grad is not None


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda each: each.name)
def test_a_dead_critic_has_a_finite_gradient(penalty: PenaltyConfig) -> None:
    weights = torch.zeros(3, 4, 4, dtype=torch.float64, requires_grad=True)
    penalty.penalty(linear(weights), images(2), images(3), uniform()).backward()
    assert weights.grad is not None
    assert weights.grad.isfinite().all()


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda each: each.name)
def test_autocast_leaves_the_penalty_in_float32_and_close(penalty: PenaltyConfig) -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(32, 1))
    arguments = (lambda x: critic(x).flatten(), images(2).float(), images(3).float(), uniform().float())
    exact = penalty.penalty(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = penalty.penalty(*arguments)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.0)
    rounded.backward()
    assert all(parameter.grad is not None for parameter in critic[0].parameters() if parameter.ndim > 1)


class Operations(TorchDispatchMode):
    """Notes the names of the operations that run in it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda each: each.name)
def test_nothing_is_read_back_from_the_device(penalty: PenaltyConfig) -> None:
    weights = images(1, 1)[0].requires_grad_()
    with Operations() as operations:
        penalty.penalty(linear(weights), images(2), images(3), uniform()).backward()
    assert operations.names
    assert "aten._local_scalar_dense.default" not in operations.names
