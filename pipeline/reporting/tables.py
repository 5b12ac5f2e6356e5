"""One table per protocol: rows of configurations, their means over seeds, and which differences are real."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pipeline.metrics.names import BEST_PREFIX, KINDS, header_of, kind_of
from pipeline.reporting.labels import Labels
from pipeline.reporting.numbers import Estimate, estimate
from pipeline.reporting.results import AT_BEST, Configuration, Measured, Results, Training, clean

ARROWS = {"lower": "↓", "higher": "↑"}
DIVERSITY = "health/diversity"
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
    """A column.

    scale: what the table multiplies by. in_main: whether it stands in the main table. checkpoint: whose number it is,
    said in the header where both have a column. aligned: whether all cells have equally many decimals.
    """

    name: str
    scale: float
    better: str
    in_main: bool
    checkpoint: str = ""
    aligned: bool = False

    @property
    def ranked(self) -> bool:
        """Whether rows are compared by it."""
        return self.in_main and self.better == "lower"

    @property
    def label(self) -> str:
        """The name, with the checkpoint where it is not the last."""
        name = self.name.removeprefix(BEST_PREFIX)
        return f"{name}{AT_BEST}" if name != self.name else name

    @property
    def title(self) -> str:
        """The header."""
        scale = f"×{self.scale:g}" if self.scale != 1 else ""
        words = [header_of(self.name.removeprefix(BEST_PREFIX)), scale, self.checkpoint, ARROWS.get(self.better, "")]
        return " ".join(word for word in words if word)


@dataclass(frozen=True)
class Row:
    """A configuration under one protocol. estimates: by metric, empty where no seed was measured, not scaled.

    sampling, errors: means of the runs' spreads over sampling seeds and of their estimators' errors, by metric.
    num_seeds: how many were measured, num_runs: of how many. costs: means over the finished runs, else over all.
    diversity: of the last samples of finished runs, in units of real images'.
    """

    label: str
    configuration: Configuration
    estimates: Mapping[str, Estimate]
    sampling: Mapping[str, float]
    errors: Mapping[str, float]
    num_seeds: int
    num_runs: int
    status: str
    device: str
    costs: Mapping[str, float]
    diversity: Estimate | None = None


@dataclass(frozen=True)
class Comparison:
    """How the row with the lowest mean stands to all others, as labels.

    ties: their intervals mean ± spread touch. unknown: one of the two has one seed only, and so no spread.
    """

    lowest: str
    ties: Sequence[str]
    unknown: Sequence[str]
    num_others: int

    @property
    def is_best(self) -> bool:
        """Whether the row is better than every other one."""
        return self.num_others > 0 and not self.ties and not self.unknown


@dataclass(frozen=True)
class Verdict(Comparison):
    """The comparison of all rows by a metric."""

    metric: Metric


@dataclass(frozen=True)
class Table:
    """Rows of one protocol, best first. Without a protocol: what was not measured under any.

    metrics: all of them, main ones first. floor: real images. corrupted: real images made worse, by the way.
    """

    protocol_hash: str | None
    protocol: Mapping[str, Any]
    metrics: Sequence[Metric]
    rows: Sequence[Row]
    floor: Measured | None
    verdicts: Sequence[Verdict]
    corrupted: Mapping[str, Measured]

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
    """Return the column of a metric; how to read it stands in KINDS."""
    plain = name.removeprefix(BEST_PREFIX)
    kind = KINDS.get(kind_of(plain) or "")
    if kind is None:
        return Metric(name, 1.0, "", in_main=False)
    checkpoint = "last" if plain == name else "best"
    said = checkpoint if checkpoint == "best" or "best" in kind.column_of else ""
    return Metric(name, kind.scale, kind.better, checkpoint in kind.column_of, said, kind.aligned)


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
        tables.append(_table(protocol_hash, protocol, members, results, labels))
    tables.sort(key=lambda table: (table.title, table.name))
    if rest := [each for each in results.configurations if id(each) not in placed]:
        tables.append(_table(None, {}, rest, results, labels))
    return tuple(tables)


def _table(
    protocol_hash: str | None,
    protocol: Mapping[str, Any],
    configurations: Sequence[Configuration],
    results: Results,
    labels: Labels,
) -> Table:
    floor = results.floors.get(protocol_hash or "")
    corrupted = results.corrupted.get(protocol_hash or "", {})
    rows = [row_of(each, protocol_hash or "", labels.of(each)) for each in configurations]
    names = {name for row in rows for name in row.estimates} | set(floor.metrics if floor else ())
    metrics = sorted(map(metric_of, names), key=_column_order)
    first = metrics[0].name if metrics and metrics[0].ranked else ""
    rows.sort(key=lambda row: (_finite_mean(row, first), row.label))
    verdicts = [verdict for metric in metrics if metric.ranked and (verdict := _verdict(metric, rows))]
    return Table(protocol_hash, protocol, metrics, rows, floor, verdicts, corrupted)


def row_of(configuration: Configuration, protocol_hash: str, label: str) -> Row:
    """Return a configuration's row in the table of a protocol."""
    trainings = configuration.trainings
    measured = [each.measured[protocol_hash] for each in trainings if protocol_hash in each.measured]
    names = sorted({name for each in measured for name in each.metrics})
    finished = [each for each in trainings if each.is_finished] or list(trainings)
    costs = {field: [t.run.metrics[key] for t in finished if key in t.run.metrics] for field, key in COSTS.items()}
    diversities = [t.run.metrics[DIVERSITY] for t in trainings if t.is_finished and DIVERSITY in t.run.metrics]
    states = Counter(_state(each, protocol_hash) for each in trainings)
    return Row(
        label=label,
        configuration=configuration,
        estimates={name: estimate([m.metrics[name] for m in measured if name in m.metrics]) for name in names},
        sampling=_means([m.sampling_spread for m in measured]),
        errors=_means([m.estimator_error for m in measured]),
        num_seeds=len(measured),
        num_runs=len(trainings),
        status=next(iter(states))
        if len(states) == 1
        else ", ".join(f"{states[state]} {state}" for state in sorted(states)),
        device="; ".join(sorted({clean(each.run.tags.get("device", "?")) for each in finished})),
        costs={field: fmean(values) for field, values in costs.items() if values},
        diversity=estimate(diversities) if diversities else None,
    )


def _means(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each entry, over those that have it."""
    names = dict.fromkeys(name for each in values for name in each)  # a set has another order in every process
    return {name: fmean(each[name] for each in values if name in each) for name in names}


def _state(training: Training, protocol_hash: str) -> str:
    """Say how a training ended, and what is to be known about its measurement."""
    if training.is_finished and protocol_hash not in training.measured:
        return "not evaluated" if training.state == "finished" else f"{training.state}, not evaluated"
    flags = training.measured[protocol_hash].flags if training.is_finished else ()
    return " and ".join([*(() if flags and training.state == "finished" else (training.state,)), *map(clean, flags)])


def _column_order(metric: Metric) -> tuple[bool, int, bool, str]:
    """Sort the main ones first, in the order of KINDS, the last generator's before the best one's."""
    plain = metric.name.removeprefix(BEST_PREFIX)
    kinds = list(KINDS)
    kind = kind_of(plain)
    return not metric.in_main, kinds.index(kind) if kind else len(kinds), plain != metric.name, metric.name


def _finite_mean(row: Row, name: str) -> float:
    mean = row.estimates[name].mean if name in row.estimates else math.inf
    return mean if math.isfinite(mean) else math.inf


def compare(estimates: Mapping[str, Estimate | None]) -> Comparison | None:
    """Compare the row with the lowest mean with all others, by label; None where there is no finite mean."""
    measured = {label: each for label, each in estimates.items() if each is not None and math.isfinite(each.mean)}
    if not measured:
        return None
    lowest, *others = sorted(measured, key=lambda label: (measured[label].mean, label))
    overlaps = {label: measured[lowest].overlaps(measured[label]) for label in others}
    return Comparison(
        lowest=lowest,
        ties=[label for label, overlap in overlaps.items() if overlap],
        unknown=[label for label, overlap in overlaps.items() if overlap is None],
        num_others=len(others),
    )


def _verdict(metric: Metric, rows: Sequence[Row]) -> Verdict | None:
    found = compare({row.label: row.estimates.get(metric.name) for row in rows})
    return None if found is None else Verdict(**vars(found), metric=metric)
