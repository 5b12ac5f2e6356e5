"""The configuration of one training: a frozen value in which nothing is implicit."""

import dataclasses
import difflib
import math
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from gan.errors import UserError
from gan.initializations import INITIALIZATIONS
from gan.losses import LOSSES
from gan.models import DiscriminatorConfig, GeneratorConfig
from gan.optimizers import OptimizerConfig
from gan.penalties import PenaltyConfig
from gan.schedules import Constant, ScheduleConfig
from gan.schema import PRECISIONS, STRICT, Name, PositiveFloat, PositiveInt, Probability, plain_json


def _one_of(names: Collection[str]) -> AfterValidator:
    """Return a check that a string is an entry of a table."""

    def check(value: str) -> str:
        if value in names:
            return value
        near = difflib.get_close_matches(value, names, n=1)
        hint = f". Did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"must be one of {', '.join(names)}, got '{value}'{hint}")

    return AfterValidator(check)


@dataclass(frozen=True, config=STRICT)
class Config:
    """Everything that decides the result of a training, but for the images and the seed.

    latent_size: length of z ~ N(0, 1).
    discriminator_steps: discriminator updates per generator update; a "step" is one discriminator update.
    fresh_latents: whether the generator step draws new latents or uses the discriminator step's images again.
    weight_clip: the discriminator's parameters are clamped to [-weight_clip, weight_clip] after each of its updates.
    clip_normalization: whether those of its normalisation layers are clamped too.
    epochs: passes through the images. max_steps: ends training earlier.
    precision: number format of the networks' products; "auto" is resolved for the device before training.
    gradient_penalty: is added to the discriminator's loss.
    schedule: of the learning rate of both optimizers.
    ema_decay: where it is set, the generator that is sampled and published is the exponential moving average of the
    generator's weights, of which each update keeps this share.
    """

    variant: Name
    title: Annotated[str, Field(min_length=1, max_length=200)]
    latent_size: Annotated[int, Field(ge=1, le=4096)]
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    initialization: Annotated[str, _one_of(INITIALIZATIONS)]
    loss: Annotated[str, _one_of(LOSSES)]
    optimizer: OptimizerConfig
    batch_size: Annotated[int, Field(ge=2, le=65536)]
    epochs: PositiveInt
    discriminator_steps: PositiveInt
    fresh_latents: bool
    weight_clip: PositiveFloat | None
    max_steps: PositiveInt | None = None
    clip_normalization: bool = True
    precision: Annotated[str, _one_of(PRECISIONS)] = "auto"
    gradient_penalty: PenaltyConfig | None = None
    schedule: ScheduleConfig = Constant(name="constant")
    ema_decay: Probability | None = None

    def steps_per_epoch(self, num_images: int) -> int:
        """Return the number of batches an epoch; a last batch of one image is left out: BatchNorm needs two."""
        if num_images < 2:
            raise UserError(f"The dataset has {num_images} image(s); training needs at least 2. Prepare a larger one.")
        num_batches = math.ceil(num_images / self.batch_size)
        return num_batches - 1 if num_images % self.batch_size == 1 else num_batches

    def num_steps(self, num_images: int) -> int:
        """Return the number of discriminator updates of the whole training."""
        steps = self.epochs * self.steps_per_epoch(num_images)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def num_generator_updates(self, num_images: int) -> int:
        """Return the number of generator updates of the whole training."""
        return self.num_steps(num_images) // self.discriminator_steps

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that the strict loader reads back to an equal configuration."""
        return dataclasses.asdict(self)


_CONFIG = TypeAdapter(Config)


def parse_config(data: object) -> Config:
    """Return the configuration that plain data describes; lists stand for tuples.

    Raises pydantic's ValidationError, a ValueError, and other ValueErrors for what is no plain data.
    """
    return _CONFIG.validate_json(plain_json(data), strict=True)
