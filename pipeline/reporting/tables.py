"""One table per protocol: rows of configurations, their means over seeds, and which differences are real."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pipeline.reporting.labels import Labels
from pipeline.reporting.numbers import Estimate, estimate
from pipeline.reporting.results import Configuration, Measured, Results, Training, clean

COSTS = {  # field of a row -> metric of the train stage
    "generator_updates": "cost/generator_updates",
    "discriminator_updates": "cost/discriminator_updates",
    "total_images": "cost/total_images",
    "seconds": "time/train_seconds",
    "generator_parameters": "cost/generator_parameters",
    "discriminator_parameters": "cost/discriminator_parameters",
}


@dataclass(frozen=True)
class Metric:
    """A column. scale: what the table multiplies by; ranked: lower is better, so rows can be compared."""

    name: str
    scale: float
    ranked: bool

    @property
    def title(self) -> str:
        """The header."""
        scale = f" x {self.scale:g}" if self.scale != 1 else ""
        return f"{self.name}{scale}{' ↓' if self.ranked else ''}"


@dataclass(frozen=True)
class Row:
    """A configuration under one protocol. estimates: by metric, empty where no seed was measured, not scaled.

    num_seeds: how many were measured, num_runs: of how many. costs: means over the finished runs, else over all.
    """

    label: str
    configuration: Configuration
    estimates: Mapping[str, Estimate]
    num_seeds: int
    num_runs: int
    status: str
    device: str
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Verdict:
    """How the row with the lowest mean of a metric stands to all others, as labels.

    ties: their intervals mean ± spread touch. unknown: one of the two has one seed only, and so no spread.
    """

    metric: Metric
    lowest: str
    ties: Sequence[str]
    unknown: Sequence[str]
    num_others: int

    @property
    def is_best(self) -> bool:
        """Whether the row is better than every other one."""
        return self.num_others > 0 and not self.ties and not self.unknown


@dataclass(frozen=True)
class Table:
    """Rows of one protocol, best first. Without a protocol: what was not measured under any.

    subset_spreads: metrics that are spreads over subsets, not over seeds, and no columns. floor: real images.
    """

    protocol_hash: str | None
    protocol: Mapping[str, Any]
    metrics: Sequence[Metric]
    subset_spreads: Sequence[str]
    rows: Sequence[Row]
    floor: Measured | None
    verdicts: Sequence[Verdict]

    @property
    def name(self) -> str:
        """Short name, for files."""
        return self.protocol_hash or "not-evaluated"

    @property
    def title(self) -> str:
        """What was measured, in words."""
        if self.protocol_hash is None:
            return "Not evaluated"
        extractor, dataset = (clean(str(self.protocol.get(key, "?"))) for key in ("extractor", "dataset"))
        counts = [self.protocol.get(key) for key in ("num_samples", "num_reference")]
        samples, reference = (f"{count:,}" if isinstance(count, int) else "?" for count in counts)
        return f"{extractor}: {samples} samples against {reference} images of {dataset}"


def metric_of(name: str) -> Metric:
    """Return the column of a metric: Frechet distances as they are, kernel distances times 1000, as is customary."""
    kind = name.split("_")[0]
    return Metric(name, 1000.0 if kind in ("kid", "kd") else 1.0, ranked=kind in ("fid", "fd", "kid", "kd"))


def build_tables(results: Results, labels: Labels) -> tuple[Table, ...]:
    """Return a table for each protocol, and one for configurations that belong to none.

    A configuration stands in every table of its own dataset, measured or not.
    """
    tables = []
    placed: set[int] = set()
    for protocol_hash, protocol in results.protocols.items():
        members = [
            each
            for each in results.configurations
            if each.is_measured(protocol_hash) or each.dataset_digest == protocol.get("dataset_digest")
        ]
        placed |= {id(each) for each in members}
        tables.append(_table(protocol_hash, protocol, members, results.floors.get(protocol_hash), labels))
    tables.sort(key=lambda table: (table.title, table.name))
    if rest := [each for each in results.configurations if id(each) not in placed]:
        tables.append(_table(None, {}, rest, None, labels))
    return tuple(tables)


def _table(
    protocol_hash: str | None,
    protocol: Mapping[str, Any],
    configurations: Sequence[Configuration],
    floor: Measured | None,
    labels: Labels,
) -> Table:
    rows = [_row(each, protocol_hash or "", labels.of(each)) for each in configurations]
    names = {name for row in rows for name in row.estimates} | set(floor.metrics if floor else ())
    subset_spreads = sorted(name for name in names if name.endswith("_std") and name.removesuffix("_std") in names)
    metrics = sorted((metric_of(name) for name in names.difference(subset_spreads)), key=_column_order)
    first = metrics[0].name if metrics and metrics[0].ranked else ""
    rows.sort(key=lambda row: (_finite_mean(row, first), row.label))
    verdicts = [verdict for metric in metrics if metric.ranked and (verdict := _compare(metric, rows))]
    return Table(protocol_hash, protocol, metrics, subset_spreads, rows, floor, verdicts)


def _row(configuration: Configuration, protocol_hash: str, label: str) -> Row:
    trainings = configuration.trainings
    measured = [each.measured[protocol_hash] for each in trainings if protocol_hash in each.measured]
    names = sorted({name for each in measured for name in each.metrics})
    finished = [each for each in trainings if each.is_finished] or list(trainings)
    costs = {field: [t.run.metrics[key] for t in finished if key in t.run.metrics] for field, key in COSTS.items()}
    states = Counter(_state(each, protocol_hash) for each in trainings)
    return Row(
        label=label,
        configuration=configuration,
        estimates={name: estimate([m.metrics[name] for m in measured if name in m.metrics]) for name in names},
        num_seeds=len(measured),
        num_runs=len(trainings),
        status=next(iter(states))
        if len(states) == 1
        else ", ".join(f"{states[state]} {state}" for state in sorted(states)),
        device="; ".join(sorted({clean(each.run.tags.get("device", "?")) for each in finished})),
        costs={field: fmean(values) for field, values in costs.items() if values},
    )


def _state(training: Training, protocol_hash: str) -> str:
    if not training.is_finished or protocol_hash in training.measured:
        return training.state
    return "not evaluated" if training.state == "finished" else f"{training.state}, not evaluated"


def _column_order(metric: Metric) -> tuple[bool, float, str]:
    """Sort Frechet distances first, then kernel distances, then the rest."""
    return not metric.ranked, metric.scale, metric.name


def _finite_mean(row: Row, name: str) -> float:
    mean = row.estimates[name].mean if name in row.estimates else math.inf
    return mean if math.isfinite(mean) else math.inf


def _compare(metric: Metric, rows: Sequence[Row]) -> Verdict | None:
    """Compare the row with the lowest mean with all others; None where nothing was measured."""
    measured = [row for row in rows if _finite_mean(row, metric.name) < math.inf]
    if not measured:
        return None
    lowest, *others = sorted(measured, key=lambda row: (row.estimates[metric.name].mean, row.label))
    overlaps = {row.label: lowest.estimates[metric.name].overlaps(row.estimates[metric.name]) for row in others}
    return Verdict(
        metric=metric,
        lowest=lowest.label,
        ties=[label for label, overlap in overlaps.items() if overlap],
        unknown=[label for label, overlap in overlaps.items() if overlap is None],
        num_others=len(others),
    )
