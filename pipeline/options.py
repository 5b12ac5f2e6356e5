"""What the commands' options have in common."""

import math
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from gan.schema import PRECISIONS

SEED = click.IntRange(0, 2**63 - 1)
COUNT = click.IntRange(min=1)
FILE = click.Path(path_type=Path)


class NumberRange(click.FloatRange):
    """A number in a range; NaN is in none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        return self.fail(f"{value} is not a number.", param, ctx) if math.isnan(number) else number


class TableChoice(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.3 on
    """An entry of a table whose module takes seconds to import: it is read when the option is given or shown."""

    name = "choice"

    def __init__(self, module: str, table: str) -> None:
        self.module, self.table = module, table

    @property
    def choice(self) -> click.Choice[str]:
        """The choice among the table's entries."""
        return click.Choice(sorted(getattr(import_module(self.module), self.table)))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an entry's name; the one that is the default needs no look at the table."""
        if param is not None and ctx is not None and value == param.get_default(ctx):
            return value
        return self.choice.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the entries, for help."""
        return self.choice.get_metavar(param, ctx)


EXTRACTOR = TableChoice("pipeline.metrics.extractors", "EXTRACTORS")
PRECISION_OF_EXTRACTOR = TableChoice("pipeline.metrics.extractors", "EXTRACTOR_PRECISIONS")
EPOCHS = NumberRange(min=0, max=1e6)
SECONDS = NumberRange(min=0, min_open=True)


class StageCommand(click.Command):
    """A command that takes an option with an empty value for one that was not given.

    MLproject entry points pass every declared parameter, and an empty default is passed as ''.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Drop `--option ''` and parse the rest."""
        given: list[str] = []
        for argument in args:
            if argument == "" and given and given[-1].startswith("--"):
                given.pop()
            else:
                given.append(argument)
        return super().parse_args(ctx, given)


def split_overrides(_ctx: click.Context, _parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    """Return FIELD=VALUE pairs; one value may hold several, as an MLproject parameter does."""
    return tuple(part for value in values for part in re.split(r"\s+(?=[\w.]+=)", value.strip()) if part)


def with_options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator that applies options in the order given."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


device_option = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="Where to compute."
)
precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="Number format of the networks' products; auto is bf16 where the device has units for it, else fp32 "
    "[default: the variant's own: auto].",
)
RETRIES_HELP = "Of a cell whose process or node died [default: 3]."
SHARE_HELP = "ray: seconds between copies of a checkpoint in the tracking store, for whoever goes on [default: 600]."

measuring_options = with_options(
    click.option(
        "--weights",
        type=FILE,
        metavar="FILE",
        help="The extractor's weights, instead of its own [default: packaged (efficientnet_lite0), "
        "$GAN_INCEPTION_WEIGHTS (inception), else the publisher's download].",
    ),
    device_option,
)
register_option = click.option(
    "--register",
    "register_best",
    is_flag=True,
    help="Register the best healthy run's generator as gan-DATASET in the model registry, with the alias champion.",
)
execution_options = with_options(
    click.option(
        "--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True,
        help="Where the cells run: on this machine or on a Ray cluster (docs/scaling.md).",
    ),
    click.option(
        "--jobs", type=COUNT, metavar="N",
        help="Cells at once, each in a process with a log of its own; with CUDA each gets its GPU "
        "[default: one after the other, in this process; ray: as many as there is room for].",
    ),
    click.option(
        "--cpus-per-cell", "cpus", type=COUNT, metavar="N",
        help="CPU threads of a cell [default: this machine's, divided by the jobs; ray: 1].",
    ),
    click.option(
        "--gpus-per-cell", "gpus", type=NumberRange(min=0), metavar="F",
        help="GPUs of a cell; 0.5: two cells share one [default: 1 where there are any].",
    ),
    click.option("--retries", type=click.IntRange(min=0), metavar="N", help=RETRIES_HELP),
    click.option(
        "--address", metavar="auto|local|ray://HOST:PORT|HOST:PORT",
        help="ray: of the cluster; local: one of this machine alone [default: auto: the one that runs here].",
    ),
    click.option("--share-every", "share_seconds", type=SECONDS, metavar="S", help=SHARE_HELP),
    click.option(
        "--shared", type=FILE, metavar="DIR",
        help="ray: a folder that all nodes see, for datasets and weights [default: through the tracking store].",
    ),
    click.option(
        "--ship/--no-ship", default=None,
        help="ray: send this working tree's code to the nodes [default: if it is one, else they have it installed].",
    ),
)  # fmt: skip
