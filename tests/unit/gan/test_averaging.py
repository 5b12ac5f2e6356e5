"""The moving average against its closed form."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gan.averaging import decay_at, make_average, update_average


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).to(dtype)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_average_is_the_weighted_sum_of_all_weights(as_tensor: bool) -> None:
    decay, num_updates = 0.9, 12
    trained = network()
    average = make_average(trained)
    history = [[parameter.detach().clone() for parameter in trained.parameters()]]
    for step in range(num_updates):
        for parameter in trained.parameters():
            parameter.data += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        history.append([parameter.detach().clone() for parameter in trained.parameters()])
        weight = 1 - decay
        update_average(average, trained, torch.tensor(weight, dtype=torch.float64) if as_tensor else weight)

    shares = [decay**num_updates, *((1 - decay) * decay ** (num_updates - k) for k in range(1, num_updates + 1))]
    assert sum(shares) == pytest.approx(1)
    for i, averaged in enumerate(average.parameters()):
        torch.testing.assert_close(averaged, sum(s * h[i] for s, h in zip(shares, history, strict=True)))


def test_buffers_are_copied_whatever_their_type() -> None:
    trained = network()
    average = make_average(trained)
    trained(torch.randn(8, 3, dtype=torch.float64))
    update_average(average, trained, 0.25)
    buffers = dict(average.named_buffers())
    assert buffers["1.num_batches_tracked"] == 1
    for name, buffer in trained.named_buffers():
        assert torch.equal(buffers[name], buffer)
        assert buffers[name].data_ptr() != buffer.data_ptr()


def test_weights_0_and_1_are_the_average_and_the_network() -> None:
    trained, other = network(), network()
    nn.init.ones_(trained.get_parameter("0.weight"))
    average = make_average(other)
    update_average(average, trained, 0.0)
    assert torch.equal(average.get_parameter("0.weight"), other.get_parameter("0.weight"))
    update_average(average, trained, 1.0)
    assert torch.equal(average.get_parameter("0.weight"), torch.ones(4, 3, dtype=torch.float64))


def test_the_average_has_no_gradients_and_shares_nothing() -> None:
    trained = network()
    trained(torch.randn(8, 3, dtype=torch.float64)).sum().backward()
    average = make_average(trained)
    for averaged, parameter in zip(average.parameters(), trained.parameters(), strict=True):
        assert (averaged.grad, averaged.requires_grad) == (None, False)
        assert torch.equal(averaged, parameter)
        assert averaged.data_ptr() != parameter.data_ptr()
        assert parameter.requires_grad
        assert parameter.grad is not None


def test_the_decay_rises_to_its_limit() -> None:
    assert decay_at(1, 0.999) == pytest.approx(2 / 11)
    assert decay_at(90, 0.999) == pytest.approx(0.91)
    assert decay_at(10**6, 0.999) == 0.999
    assert decay_at(1, 0.0) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_as_weight_is_not_read_back(dtype: torch.dtype) -> None:
    names = []

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    trained = network(dtype)
    average = make_average(trained)
    weight = torch.tensor(0.5)
    with Operations():
        update_average(average, trained, weight)
    assert names.count("aten.lerp_.Tensor") == 4
    assert "aten._local_scalar_dense.default" not in names
