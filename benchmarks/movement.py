"""How far each training has moved its generator's weights, and how far one of plain SGD can move them.

    python benchmarks/movement.py     # in the folder of a store, after `pipeline run SUITE`

Runs that were imported without their generators, as published ones are, are named and left out.

The movement of a layer is |W_now - W_start| / |W_start|, in Frobenius norms; a row shows the layers that moved least
and most. A row of plain SGD has two columns more: the length of its way (learning rate x sum of the gradients' norms /
|W_start|) of the layer that went furthest, which no movement exceeds; and that at the variant's full length, if the
gradients stay as they were. Where even this is far below 1, the training ends near where it began.
"""

from collections.abc import Mapping
from dataclasses import replace

import click
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from gan.config import Config
from gan.errors import UserError
from gan.health import layer_names
from gan.optimizers import SGD
from gan.sampling import TrainedGenerator
from gan.state import build
from pipeline.publish import GENERATOR
from pipeline.sample import load_trained
from pipeline.tracking import Run, Stage, Store, connect
from pipeline.tracking.histories import Points

CPU = torch.device("cpu")


@click.command(help=__doc__)
def main() -> None:
    """Print one row for each finished training, as markdown."""
    try:
        store = connect()
        rows = [row_of(run, store) for run in finished(store)]
    except UserError as error:
        raise click.ClickException(str(error)) from None
    click.echo(pd.DataFrame(rows).fillna("-").to_markdown(index=False))


def finished(store: Store) -> list[Run]:
    """Return the trainings that have a generator, and name those that have none.

    Raises UserError where all have none.
    """
    kept = []
    for run in sorted(store.find({"stage": Stage.TRAIN}), key=lambda run: run.name):
        if run.status != "FINISHED":
            continue
        if GENERATOR in store.all_artifacts(run):
            kept.append(run)
        else:
            click.echo(f"{label(run)}: no {GENERATOR}, left out", err=True)
    if not kept:
        raise UserError(
            f"{store.uri} has no finished training with its generator. Run `pipeline run SUITE` first; published runs "
            "were exported without theirs."
        )
    return kept


def label(run: Run) -> str:
    """Return a run's name with what differs from its variant."""
    return f"{run.name} {run.tags['overrides']}".rstrip()


def row_of(run: Run, store: Store) -> dict[str, str | int | float]:
    """Return a line of the table."""
    trained = load_trained(run, store, CPU)
    start = build(trained.config, int(run.tags["seed"]), CPU).generator
    moved = movements(start, trained.network)
    row: dict[str, str | int | float] = {
        "run": label(run),
        "generator updates": trained.step // trained.config.discriminator_steps,
        "least moved": f"{min(moved.values()):.2g}",
        "most moved": f"{max(moved.values()):.2g}",
    }
    if trained.config.optimizer == SGD(name="sgd", lr=trained.config.optimizer.lr, momentum=0.0):
        curves = store.histories([run.run_id], [f"gradient_norm/generator/{name}" for name in moved])[run.run_id]
        way = max(ways(start, trained, curves).values())
        row["way of plain SGD"] = f"{way:.2g}"
        row["at full length"] = f"{way * full_length(trained.config, run) / trained.step:.2g}"
    return row


def movements(start: nn.Module, now: nn.Module) -> dict[str, float]:
    """Return |W_now - W_start| / |W_start| of each weight of two and more dimensions, by the layer's name."""
    return {name: float((after - before).norm() / before.norm()) for name, before, after in pairs(start, now)}


def ways(start: nn.Module, trained: TrainedGenerator, curves: Mapping[str, Points]) -> dict[str, float]:
    """Return learning rate x sum of the gradients' norms / |W_start| by layer.

    curves: of the layers' gradient norms, each point the mean over the generator's updates since the point before; none
    where the training ended before its generator's first update.
    """
    every, lr = trained.config.discriminator_steps, trained.config.optimizer.lr
    lengths = {}
    for name, before, _ in pairs(start, trained.network):
        points = curves.get(f"gradient_norm/generator/{name}", np.empty((0, 2)))
        updates = np.diff(points[:, 0] // every, prepend=0)
        lengths[name] = lr * float(updates @ points[:, 1]) / float(before.norm())
    return lengths


def pairs(start: nn.Module, now: nn.Module) -> list[tuple[str, Tensor, Tensor]]:
    """Return the layers' names with their weights before and after."""
    before, after = dict(start.named_parameters()), dict(now.named_parameters())
    return [(layer, before[name].detach(), after[name].detach()) for name, layer in layer_names(start).items()]


def full_length(config: Config, run: Run) -> int:
    """Return the steps of a run's configuration without the limit that ended it early."""
    return replace(config, max_steps=None).num_steps(int(run.tags["num_images"]))


if __name__ == "__main__":
    main()
