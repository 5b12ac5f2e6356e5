"""The best run of a dataset, by a rule that is stated where the model is registered."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.metrics.names import PUBLISHED, kind_of
from pipeline.reporting.results import Training
from pipeline.reporting.tables import Row, Table

RULE = (
    "lowest mean Frechet distance of the last generator over training seeds, of the rows whose runs are all healthy; "
    "of that row, the run with the lowest distance. Of several protocols of a dataset: FID before other feature "
    "spaces, then more samples."
)


@dataclass(frozen=True)
class Champion:
    """The best run of a dataset. metric, value: its Frechet distance. ties: rows whose intervals overlap its row's.

    unknown: rows of which nothing can be said, since one of the two has one seed.
    """

    dataset: str
    training: Training
    label: str
    metric: str
    value: float
    protocol_hash: str
    ties: Sequence[str]
    unknown: Sequence[str]


def champions(tables: Sequence[Table]) -> list[Champion]:
    """Return the best run of each dataset that has a healthy measured one, by RULE."""
    found: dict[str, Champion] = {}
    for table in sorted(tables, key=_preference):
        dataset = str(table.protocol.get("dataset", ""))
        best = _best(table)
        if best is not None and dataset not in found:
            found[dataset] = best
    return list(found.values())


def _preference(table: Table) -> tuple[bool, float, str]:
    samples = table.protocol.get("num_samples")
    is_fid = any(metric.name == PUBLISHED["fd"] for metric in table.metrics)
    return not is_fid, -samples if isinstance(samples, int) else 0, table.name


def _best(table: Table) -> Champion | None:
    """Return the best run of a table; None where no healthy row was measured."""
    metric = next((each.metric.name for each in table.verdicts if kind_of(each.metric.name) == "fd"), None)
    if table.protocol_hash is None or metric is None:
        return None
    healthy = [row for row in table.rows if row.status == "finished" and _is_measured(row, metric)]
    if not healthy:
        return None
    row = min(healthy, key=lambda each: (each.estimates[metric].mean, each.label))
    training = min(
        (each for each in row.configuration.trainings if metric in each.measured[table.name].metrics),
        key=lambda each: each.measured[table.name].metrics[metric],
    )
    others = [each for each in table.rows if each is not row and _is_measured(each, metric)]
    overlaps = {each.label: row.estimates[metric].overlaps(each.estimates[metric]) for each in others}
    return Champion(
        dataset=str(table.protocol.get("dataset", "")),
        training=training,
        label=row.label,
        metric=metric,
        value=training.measured[table.name].metrics[metric],
        protocol_hash=table.protocol_hash,
        ties=[label for label, overlap in overlaps.items() if overlap],
        unknown=[label for label, overlap in overlaps.items() if overlap is None],
    )


def _is_measured(row: Row, metric: str) -> bool:
    return metric in row.estimates and math.isfinite(row.estimates[metric].mean)
