"""Two runs or two rows: what differs in configuration and in numbers."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from gan.errors import UserError
from pipeline.reporting.document import Block, Document, Section
from pipeline.reporting.formats import Format
from pipeline.reporting.labels import Labels
from pipeline.reporting.model import differences, in_words
from pipeline.reporting.numbers import NOTHING, Estimate, decimals_of, write_count, write_estimate, write_seconds
from pipeline.reporting.results import Configuration, Results, Training
from pipeline.reporting.tables import COSTS, Row, metric_of, row_of

FEWEST_DIGITS = 6  # of a run id


@dataclass(frozen=True)
class Side:
    """A row, or one run of it."""

    label: str
    configuration: Configuration

    @property
    def protocols(self) -> dict[str, dict[str, object]]:
        """What its runs were measured under, by hash."""
        measured = [m for training in self.configuration.trainings for m in training.measured.values()]
        return {each.protocol_hash: dict(each.protocol) for each in measured}


def find_side(text: str, results: Results, labels: Labels) -> Side:
    """Return the run of an id (or of its first digits), or the row of a label or of a variant that has one row.

    Raises UserError where there is none, or several.
    """
    found = [
        _run_of(each, training, labels.of(each))
        for each in results.configurations
        for training in each.trainings
        if len(text) >= FEWEST_DIGITS and training.run.run_id.startswith(text)
    ]
    found = found or [Side(labels.of(each), each) for each in results.configurations if labels.of(each) == text]
    found = found or [Side(labels.of(each), each) for each in results.configurations if each.variant == text]
    if len(found) == 1:
        return found[0]
    known = [side.label for side in found] or sorted({labels.of(each) for each in results.configurations})
    which = "stands for several" if found else "is neither a run's id nor a row"
    raise UserError(f"--compare: '{text}' {which}. Choose one of: {'; '.join(known)}; or a run's id (`pipeline ui`).")


def compare_sides(first: Side, second: Side, fmt: Format, command: str, software: str) -> Document:
    """Return configuration, numbers under each protocol that both have, and costs, side by side."""
    names = [f"{each.label} ({which})" if first.label == second.label else each.label
             for each, which in ((first, "A"), (second, "B"))]  # fmt: skip
    sections = [
        Section("Configuration", "configuration", _configuration(first, second, names, fmt)),
        *_numbers(first, second, names, fmt),
        Section("Costs", "costs", [_grid(_costs(first, second, names), fmt)]),
    ]
    summary = [f"A is {fmt.name(names[0])}, B is {fmt.name(names[1])}."]
    return Document("A against B", summary, sections, f"Made by {fmt.code(command)}, {fmt.escape(software)}.")


def _run_of(configuration: Configuration, training: Training, label: str) -> Side:
    return Side(
        f"{label}, seed {training.seed}, run {training.run.run_id[:8]}",
        dataclasses.replace(configuration, trainings=[training]),
    )


def _configuration(first: Side, second: Side, names: Sequence[str], fmt: Format) -> list[Block]:
    ours, theirs = (_fields(each.configuration) for each in (first, second))
    lines = [
        {"field": field, "A": ours.get(field, NOTHING), "B": theirs.get(field, NOTHING)}
        for field in sorted({*ours, *theirs})
        if ours.get(field) != theirs.get(field)
    ]
    if not lines:
        return [Block("text", f"{fmt.name(names[0])} and {fmt.name(names[1])} do not differ in any field.")]
    return [_grid(pd.DataFrame(lines), fmt), Block("text", "All other fields are equal.")]


def _fields(configuration: Configuration) -> dict[str, str]:
    trainings = configuration.trainings
    return dict(configuration.fields) | {
        "seeds": ", ".join(each.seed for each in trainings),
        "device": "; ".join(sorted({each.run.tags.get("device", "?") for each in trainings})),
        "status": ", ".join(each.state for each in trainings),
    }


def _numbers(first: Side, second: Side, names: Sequence[str], fmt: Format) -> list[Section]:
    """Return a section for each protocol that both have; where there is none, say in what theirs differ."""
    shared = [key for key in first.protocols if key in second.protocols]
    sections = []
    for key in shared:
        rows = [row_of(each.configuration, key, name) for each, name in zip((first, second), names, strict=True)]
        blocks = [_grid(_metrics(rows[0], rows[1]), fmt), Block("text", "A tie: the intervals mean ± spread overlap.")]
        sections.append(Section(f"Numbers under protocol {fmt.code(key)}", f"numbers-{key}", blocks))
    if sections:
        return sections
    if not first.protocols or not second.protocols:
        missing = " and ".join(
            fmt.name(name) for name, side in zip(names, (first, second), strict=True) if not side.protocols
        )
        command = fmt.code("pipeline evaluate --run ID")
        return [Section("Numbers", "numbers", [Block("text", f"{missing}: not measured. {command} does it.")])]
    items = [
        f"{fmt.code(key)} (A) vs {fmt.code(other)} (B): {fmt.escape(in_words(differences(ours, theirs)))}."
        for key, ours in first.protocols.items()
        for other, theirs in second.protocols.items()
    ]
    text = "They were measured under different protocols: their numbers cannot be compared."
    return [Section("Numbers", "numbers", [Block("text", text), Block("bullets", items=items)])]


def _metrics(first: Row, second: Row) -> pd.DataFrame:
    lines = []
    for name in dict.fromkeys([*first.estimates, *second.estimates]):
        metric = metric_of(name)
        found = [row.estimates.get(name) for row in (first, second)]
        scaled = [None if each is None else _scaled(each, metric.scale) for each in found]
        decimals = decimals_of([each.mean for each in scaled if each is not None])
        cells = [NOTHING if each is None else write_estimate(each, decimals) for each in scaled]
        difference, verdict = _difference(scaled, metric.better, decimals)
        lines.append({"metric": metric.label, "A": cells[0], "B": cells[1], "B - A": difference, "verdict": verdict})
    return pd.DataFrame(lines)


def _scaled(value: Estimate, scale: float) -> Estimate:
    return Estimate(value.mean * scale, None if value.spread is None else value.spread * scale, value.num_seeds)


def _difference(values: Sequence[Estimate | None], better: str, decimals: int) -> tuple[str, str]:
    ours, theirs = values
    if ours is None or theirs is None:
        return NOTHING, "missing"
    difference = f"{theirs.mean - ours.mean:+.{decimals}f}"
    overlap = ours.overlaps(theirs)
    if overlap is None:
        return difference, "one seed has no spread: unknown"
    if overlap or not better:
        return difference, "tie" if overlap else "they differ"
    return difference, "A is better" if (ours.mean < theirs.mean) == (better == "lower") else "B is better"


def _costs(first: Side, second: Side, names: Sequence[str]) -> pd.DataFrame:
    rows = [row_of(each.configuration, "", name) for each, name in zip((first, second), names, strict=True)]
    lines = []
    for cost in COSTS:
        write = write_seconds if cost == "seconds" else write_count
        ours, theirs = (write(row.costs.get(cost)) for row in rows)
        lines.append({"cost": cost.replace("_", " "), "A": ours, "B": theirs})
    return pd.DataFrame(lines)


def _grid(frame: pd.DataFrame, fmt: Format) -> Block:
    return Block("grid", fmt.grid(frame.map(fmt.escape), 0))
