"""What a report says, before it is written in any format."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gan.errors import UserError
from pipeline.identity import flatten
from pipeline.metrics.names import BEST_PREFIX, kind_of
from pipeline.reporting.budgets import View, views_at_equal_effort
from pipeline.reporting.candidates import PRECISION, Candidate, Wording
from pipeline.reporting.claims import Claim, Judgement, judge
from pipeline.reporting.curves import MOST_DRAWN, SECONDS, Curve, Trajectory
from pipeline.reporting.labels import Labels, label
from pipeline.reporting.reading import read_results
from pipeline.reporting.results import Configuration, Results, Training
from pipeline.reporting.sentences import evaluate_options
from pipeline.reporting.stability import Stability, stability
from pipeline.reporting.suites import Suite
from pipeline.reporting.tables import DIVERSITY, Row, Table, build_tables
from pipeline.tracking import Store

CURVES = "curve/"
SATURATION = "health/saturation"
DENSE = ("train/loss_discriminator", "train/loss_generator", SATURATION, "health/generator_gradient")
NEVER_SATURATED = ("wasserstein",)  # losses whose critic always has something to learn: its curve would say nothing


@dataclass(frozen=True)
class Group:
    """Finished trainings on one dataset that were measured alike during training, by row label, in the tables' order.

    selection: hash of the protocol of those measurements, "" for none. views, stability: by name of a Frechet curve.
    """

    dataset: str
    dataset_digest: str
    selection: str
    rows: Mapping[str, Sequence[Trajectory]]
    views: Mapping[str, Sequence[View]]
    stability: Mapping[str, Mapping[str, Stability]]

    @property
    def curves(self) -> list[str]:
        """The names of the curves of distances, sorted."""
        return sorted({name for runs in self.rows.values() for run in runs for name in run.curves if CURVES in name})


@dataclass(frozen=True)
class Report:
    """All numbers of a report.

    claims: with the rules that decide them. candidates: their evidence, by table name. suite: of which all runs are.
    """

    results: Results
    labels: Labels
    tables: Sequence[Table]
    groups: Sequence[Group]
    claims: Sequence[Claim]
    candidates: Mapping[str, Sequence[Candidate]]
    suite: Suite | None = None

    def judgements(self, table: Table, wording: Wording) -> Sequence[Judgement]:
        """Decide the claims from the rows of one table; there are none about what was not measured."""
        if table.protocol_hash is None:
            return ()
        return judge(self.claims, self.candidates[table.name], _with_commands(wording, table))


def build_report(store: Store, run_ids: Sequence[str], claims: Sequence[Claim], suite: Suite | None = None) -> Report:
    """Read all trainings of a store, or some of them, and draw what follows. suite: all that there are of it, instead.

    Raises UserError as read_results does.
    """
    results = read_results(store, suite.run_ids if suite else run_ids)
    labels = label(results.configurations)
    order = dict.fromkeys(row.label for table in build_tables(results, labels) for row in table.rows)
    places = {name: place for place, name in enumerate(order)}
    configurations = sorted(results.configurations, key=lambda each: places[labels.of(each)])
    results = dataclasses.replace(results, configurations=_with_curves(configurations, store))
    tables = build_tables(results, labels)
    groups = _groups(results.configurations, labels)
    candidates = {table.name: [_candidate(row, table, groups) for row in table.rows] for table in tables}
    return Report(results, labels, tables, groups, claims, candidates, suite)


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the fields in which two protocols differ, by dotted name, with both values; "" for a missing one."""
    ours, theirs = ({key: _written(value) for key, value in flatten(each).items()} for each in (first, second))
    fields = list(dict.fromkeys([*ours, *theirs]))
    pairs = [(field, ours.get(field, ""), theirs.get(field, "")) for field in fields]
    return [pair for pair in pairs if pair[1] != pair[2]]


def in_words(found: Sequence[tuple[str, str, str]]) -> str:
    """Write differences as "num_samples 10000 vs 50000"."""
    return "; ".join(f"{field} {first or 'none'} vs {second or 'none'}" for field, first, second in found)


def require_one_table(tables: Sequence[Table]) -> None:
    """Raise UserError where rows of different protocols were asked for in one table."""
    if len(tables) < 2:
        return
    first, *others = tables
    words = [
        f"{first.name} and {other.name} differ in {in_words(differences(first.protocol, other.protocol))}"
        if other.protocol_hash
        else f"{', '.join(row.label for row in other.rows)}: not measured"
        for other in others
    ]
    raise UserError(
        f"--one-table: rows of different protocols cannot be compared: {'. '.join(words)}. "
        "Evaluate all runs alike, or leave the option out: each protocol has a table of its own."
    )


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _with_curves(configurations: Sequence[Configuration], store: Store) -> list[Configuration]:
    """Return the configurations with the curves of their finished trainings; dense ones of those that are drawn."""
    finished = [t.run for each in configurations for t in each.trainings if t.is_finished]
    of_datasets: dict[str, list[Configuration]] = {}
    for each in configurations:
        of_datasets.setdefault(each.dataset_digest, []).append(each)
    drawn = [
        t.run for group in of_datasets.values() for each in group[:MOST_DRAWN] for t in each.trainings if t.is_finished
    ]
    sparse = sorted({name for run in finished for name in run.metrics if name.startswith(CURVES)})
    ids = [run.run_id for run in finished]
    points = store.histories(ids, [*sparse, DIVERSITY])
    steps = sorted({int(step) for curves in points.values() for curve in curves.values() for step in curve[:, 0]})
    for more in (store.histories(ids, [SECONDS], steps), store.histories([run.run_id for run in drawn], DENSE)):
        for run_id, curves in more.items():
            points[run_id] |= curves
    return [
        dataclasses.replace(
            each,
            trainings=[
                dataclasses.replace(
                    training,
                    curves={
                        name: Curve(curve[:, 0], curve[:, 1])
                        for name, curve in sorted(points.get(training.run.run_id, {}).items())
                        if not (name == SATURATION and each.config.get("loss") in NEVER_SATURATED)
                    },
                )
                for training in each.trainings
            ],
        )
        for each in configurations
    ]


def _groups(configurations: Sequence[Configuration], labels: Labels) -> list[Group]:
    """Put together what can be compared; configurations come in the order of the tables."""
    found: dict[tuple[str, str, str], dict[str, list[Training]]] = {}
    for each in configurations:
        for training in each.trainings:
            if training.is_finished and training.curves:
                key = each.dataset, each.dataset_digest, training.selection
                found.setdefault(key, {}).setdefault(labels.of(each), []).append(training)
    groups = []
    for (dataset, digest, selection), trainings in sorted(found.items()):
        rows = {name: [training.trajectory for training in each] for name, each in trainings.items()}
        curves = sorted({name for runs in rows.values() for run in runs for name in run.curves})
        frechet = [name for name in curves if kind_of(name.removeprefix(CURVES)) == "fd" and name.startswith(CURVES)]
        groups.append(
            Group(
                dataset,
                digest,
                selection,
                rows,
                {name: views_at_equal_effort(rows, name) for name in frechet},
                {name: stability(rows, name) for name in frechet},
            )
        )
    return groups


def _candidate(row: Row, table: Table, groups: Sequence[Group]) -> Candidate:
    """Return a row as evidence: its numbers in the table, and its trainings' course in the same feature space."""
    measures, by_seed = {}, {}
    for name, each in row.estimates.items():
        plain = name.removeprefix(BEST_PREFIX)
        if kind := kind_of(plain):
            known_as = kind if plain == name else f"{BEST_PREFIX}{kind}"
            measures[known_as], by_seed[known_as] = each, _by_seed(row.configuration, table.name, name)
    course = _course(row, table, groups)
    return Candidate(
        label=row.label,
        variant=row.configuration.variant,
        overridden=row.configuration.overridden,
        num_runs=row.num_runs,
        measures=measures | dict(course.estimates),
        worst=dict(course.largest),
        by_seed=by_seed,
    )


def _by_seed(configuration: Configuration, protocol_hash: str, metric: str) -> dict[str, float]:
    """Return a metric under one protocol by training seed, of the trainings that have it."""
    measured = {each.seed: each.measured.get(protocol_hash) for each in configuration.trainings}
    return {seed: each.metrics[metric] for seed, each in measured.items() if each and metric in each.metrics}


def _course(row: Row, table: Table, groups: Sequence[Group]) -> Stability:
    """Return how steady a row's trainings were: in the table's feature space where that has a curve, else in another.

    A row whose trainings were measured in several ways has no course.
    """
    own = f"_{table.protocol.get('feature_space', '')}"
    digest = row.configuration.dataset_digest
    found = [
        {name: rows[row.label] for name, rows in group.stability.items() if row.label in rows}
        for group in groups
        if group.dataset_digest == digest and row.label in group.rows
    ]
    if len(found) != 1 or not found[0]:
        return Stability({}, {})
    curves = found[0]
    return next((each for name, each in curves.items() if name.endswith(own)), next(iter(curves.values())))


def _with_commands(wording: Wording, table: Table) -> Wording:
    """Return how evidence is written, with the options that commands need for rows of this protocol."""
    train = ["--data", str(table.protocol.get("dataset", "NAME"))]
    formats = {row.configuration.overridden.get(PRECISION) for row in table.rows}
    if len(formats) == 1 and (chosen := formats.pop()):  # of all rows, against the device's own
        train += ["--precision", str(chosen)]
    return dataclasses.replace(wording, train=train, evaluate=evaluate_options(table.protocol))
