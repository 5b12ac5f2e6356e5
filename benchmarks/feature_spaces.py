"""Do two feature spaces order generators alike? Rank correlation of two curves along the trainings of a store.

First `pipeline run feature_spaces` (with `--data NAME` for images of your own), then this, in the same folder.
"""

from collections.abc import Sequence

import click
import numpy as np
import pandas as pd

from gan.errors import UserError
from pipeline.tracking import Stage, Store, connect

NUM_RESAMPLES = 2000


@click.command()
@click.option("--first", default="fd_efficientnet_lite0", show_default=True, help="A curve.")
@click.option("--second", default="fd_inception768", show_default=True, help="Another one.")
def main(first: str, second: str) -> None:
    """Print a table of all checkpoints and the correlations, as markdown."""
    try:
        points = read_points(connect(), [first, second])
    except UserError as error:
        raise click.ClickException(str(error)) from None
    click.echo(points.round(2).to_markdown(index=False))
    click.echo()
    click.echo(correlations(points, first, second).to_markdown(index=False))


def read_points(store: Store, curves: Sequence[str]) -> pd.DataFrame:
    """Return one row for each step of each training that has a point of every curve: run, variant, step, values.

    Raises UserError where there are fewer than three.
    """
    rows = []
    for run in store.find({"stage": Stage.TRAIN}):
        histories = [store.client.get_metric_history(run.run_id, f"curve/{curve}") for curve in curves]
        values = [{point.step: point.value for point in history} for history in histories]
        rows += [
            {"run": run.name, "variant": run.tags["variant"], "step": step}
            | {curve: each[step] for curve, each in zip(curves, values, strict=True)}
            for step in sorted(set(values[0]).intersection(*values[1:]))
        ]
    if len(rows) < 3:
        raise UserError(
            f"{store.uri} has {len(rows)} checkpoints with the curves {' and '.join(curves)}, 3 are needed. "
            "Run `pipeline run feature_spaces` first."
        )
    return pd.DataFrame(rows).sort_values(["variant", "run", "step"], ignore_index=True)


def correlations(points: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Return Spearman's and Kendall's coefficients over all checkpoints, without each variant, and within each.

    Without: one variant that is far from all others can make a correlation of all alone. The interval is the middle
    95 % over bootstrap resamples of the checkpoints, as if those of one training were independent: too narrow.
    """
    variants = {str(variant): group for variant, group in points.groupby("variant")}
    without = {f"all but {name}": points[points["variant"] != name] for name in variants if len(variants) > 2}
    groups = {"all": points} | without | variants
    return pd.DataFrame(
        [
            {"checkpoints of": name, "number": len(group)}
            | {"Spearman": round(spearman(group[first], group[second]), 3)}
            | {
                "95 % interval": interval(group[first].to_numpy(), group[second].to_numpy())
                if name.startswith("all")
                else ""
            }
            | {"Kendall": round(kendall(group[first].to_numpy(), group[second].to_numpy()), 3)}
            for name, group in groups.items()
        ]
    )


def spearman(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Return the correlation of the ranks."""
    return float(np.corrcoef(x.rank(), y.rank())[0, 1])


def kendall(x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of pairs that both order alike minus the share that they order differently (tau-a)."""
    pairs = np.triu_indices(len(x), k=1)
    return float(np.sign((x[:, None] - x)[pairs] * (y[:, None] - y)[pairs]).mean())


def interval(x: np.ndarray, y: np.ndarray) -> str:
    """Return the middle 95 % of Spearman's coefficient over bootstrap resamples."""
    generator = np.random.default_rng(0)
    values = []
    for _ in range(NUM_RESAMPLES):
        chosen = generator.integers(len(x), size=len(x))
        if len(set(chosen)) > 1:
            values.append(spearman(pd.Series(x[chosen]), pd.Series(y[chosen])))
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{low:.2f} to {high:.2f}"


if __name__ == "__main__":
    main()
