"""Tables of the network architectures. A new one is a class in a file of its own and one entry in its union here."""

from typing import Annotated

from pydantic import Field

from gan.models.dcgan_k5 import DiscriminatorK5, DiscriminatorK5Config, GeneratorK5Config
from gan.models.deconv_k3 import GeneratorK3Config

__all__ = ["Discriminator", "DiscriminatorConfig", "GeneratorConfig"]

GeneratorConfig = Annotated[GeneratorK5Config | GeneratorK3Config, Field(discriminator="name")]

# A union of one: the tag is checked by the class itself. With a second entry: `A | B, Field(discriminator="name")`.
DiscriminatorConfig = DiscriminatorK5Config
Discriminator = DiscriminatorK5
