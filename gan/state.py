"""What changes during a training: all of it, so that a checkpoint needs nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gan.averaging import make_average
from gan.config import Config
from gan.health import layer_names
from gan.initializations import INITIALIZATIONS
from gan.losses import LOSSES
from gan.models import Discriminator
from gan.randomness import Stream, torch_seed


@dataclass(frozen=True)
class Scalars:
    """Names of what a step measures, in the order of `State.sums`.

    discriminator: in every step. generator: in those that update the generator. layers_*: parameters whose gradients
    are watched.
    """

    discriminator: tuple[str, ...]
    generator: tuple[str, ...]
    layers_discriminator: tuple[str, ...]
    layers_generator: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return self.discriminator + self.generator

    @staticmethod
    def of(generator: nn.Module, discriminator: nn.Module) -> "Scalars":
        """Return the names for two networks."""
        layers = {"discriminator": layer_names(discriminator), "generator": layer_names(generator)}
        norms = {side: [f"gradient_norm/{side}/{name}" for name in names.values()] for side, names in layers.items()}
        losses = ("train/loss_discriminator", "train/real_output", "train/fake_output", "health/saturation")
        return Scalars(
            (*losses, *norms["discriminator"]),
            ("train/loss_generator", "health/generator_gradient", *norms["generator"]),
            tuple(layers["discriminator"]),
            tuple(layers["generator"]),
        )


@dataclass
class State:
    """Networks, optimizers and what is counted.

    average: the moving average of the generator, where the configuration has one. sums: of the scalars since step
    `summed_from`, float64 [len(scalars.names)]. last: the last values of the curves, by name. best_value, best_step:
    of the evaluations during training, the smallest and when it was.
    """

    generator: nn.Module
    discriminator: Discriminator
    average: nn.Module | None
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    scalars: Scalars
    sums: Tensor
    summed_from: int = 0
    step: int = 0
    images_seen: int = 0
    seconds: float = 0.0
    last: dict[str, float] = field(default_factory=dict)
    best_value: float = float("inf")
    best_step: int = 0

    _NETWORKS = ("generator", "discriminator", "average")
    _OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
    _NUMBERS = ("summed_from", "step", "images_seen", "seconds", "last", "best_value", "best_step")

    @property
    def sampled(self) -> nn.Module:
        """The generator that samples are drawn from and that is published."""
        return self.generator if self.average is None else self.average

    def to_dict(self) -> dict[str, Any]:
        """Return tensors and plain values; what the configuration says of the optimizers is not among them."""
        networks = {name: getattr(self, name) for name in self._NETWORKS}
        content: dict[str, Any] = {name: each.state_dict() for name, each in networks.items() if each is not None}
        content |= {name: getattr(self, name).state_dict()["state"] for name in self._OPTIMIZERS}
        return content | {"sums": self.sums} | {name: getattr(self, name) for name in self._NUMBERS}

    def load_dict(self, content: Mapping[str, Any]) -> None:
        """Become what `to_dict` returned, on whatever device that was.

        Raises exceptions of many types for other content, and may have taken over a part of it then.
        """
        for name in self._NETWORKS:
            if (network := getattr(self, name)) is not None:
                network.load_state_dict(content[name])
        for name in self._OPTIMIZERS:
            optimizer = getattr(self, name)
            groups = optimizer.state_dict()["param_groups"]
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            values = {
                index: {key: _laid_out_like(value, parameters[index]) for key, value in of_parameter.items()}
                for index, of_parameter in content[name].items()
            }
            optimizer.load_state_dict({"state": values, "param_groups": groups})
        self.sums.copy_(content["sums"])
        for name in self._NUMBERS:
            if type(content[name]) is not type(getattr(self, name)):
                raise TypeError(f"{name} is {type(content[name]).__name__}")
            setattr(self, name, content[name])
        if not 0 <= self.summed_from <= self.step:
            raise ValueError(f"step is {self.step}")

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor that a step changes; those of the optimizers exist from their first step on."""
        for name in self._NETWORKS:
            if (network := getattr(self, name)) is not None:
                yield from network.parameters()
                yield from network.buffers()
        for name in self._OPTIMIZERS:
            for values in getattr(self, name).state.values():
                yield from (value for value in values.values() if isinstance(value, Tensor))
        yield self.sums


def _laid_out_like(value: Any, parameter: Tensor) -> Any:
    """Return what an optimizer remembers of a parameter: its kernels take size and layout on trust."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    if value.shape != parameter.shape:
        raise ValueError(f"of shape {list(value.shape)} for a parameter of {list(parameter.shape)}")
    return torch.empty_like(parameter).copy_(value)


def build(config: Config, seed: int, device: torch.device, dtype: torch.dtype = torch.float32) -> State:
    """Return networks with initial weights that depend on the seed alone, and their optimizers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.WEIGHTS))
        generator = config.generator.build(config.latent_size)
        discriminator = config.discriminator.build(LOSSES[config.loss].output())
        for network in (generator, discriminator):
            network.apply(INITIALIZATIONS[config.initialization])
        config.discriminator.finish(discriminator)
    for network in (generator, discriminator):
        network.to(device, dtype).to(memory_format=torch.channels_last)
    scalars = Scalars.of(generator, discriminator)
    return State(
        generator,
        discriminator,
        None if config.ema_decay is None else make_average(generator),
        config.optimizer.build(generator.parameters(), device),
        config.optimizer.build(discriminator.parameters(), device),
        scalars,
        sums=torch.zeros(len(scalars.names), dtype=torch.float64, device=device),
    )
