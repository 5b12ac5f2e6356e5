"""What a table shows, in words."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.metrics.names import BEST_PREFIX, kind_of
from pipeline.reporting.formats import Format, Markup
from pipeline.reporting.results import clean
from pipeline.reporting.tables import Row, Table, Verdict

LITTLE = 0.01  # a coverage below it says that a precision above it comes from few real images


def sentences(table: Table, fmt: Format) -> list[str]:
    """Return what follows from a table, and what is missing in it."""
    return [
        *(_verdict(verdict, fmt.name, fmt.code) for verdict in table.verdicts),
        *_choices(table, fmt),
        *_few_neighbourhoods(table, fmt),
        *_incomplete(table, fmt),
        *_floor(table, fmt),
    ]


def _verdict(verdict: Verdict, name: Markup, code: Markup) -> str:
    """Say who is best, who ties and of whom nothing can be said."""
    start = f"{code(verdict.metric.label)}: {name(verdict.lowest)}"
    if verdict.num_others == 0:
        return f"{start} is the only row with a value: there is nothing to compare it with."
    if verdict.is_best:
        return f"{start} is best: its interval mean ± spread overlaps no other row's."
    parts = [f"{start} has the lowest mean."]
    if verdict.ties:
        parts.append(f"It ties with {_all(verdict.ties, name)}: their intervals mean ± spread overlap.")
    if verdict.unknown:
        parts.append(
            f"Nothing can be said about the difference to {_all(verdict.unknown, name)}: one seed has no spread. "
            "Train at least two seeds of each row."
        )
    return " ".join(parts)


def _choices(table: Table, fmt: Format) -> list[str]:
    """Say where best generators were chosen in different ways, or not at all."""
    chosen = {
        row.label: {each.selection for each in row.configuration.trainings if table.protocol_hash in each.measured}
        for row in table.rows
        if any(name.startswith(BEST_PREFIX) for name in row.estimates)
    }
    ways = sorted(set().union(*chosen.values()) - {""})
    without = [label for label, selections in chosen.items() if "" in selections]
    found = []
    if ways and without:
        found.append(f"Of {_all(without, fmt.name)} no generator was chosen during training: best is last.")
    if len(ways) > 1:
        found.append(
            f"Best generators were chosen in different ways ({_all(ways, fmt.code)}, the artifact "
            f"{fmt.code('evaluation/selection.json')} of the runs): their numbers at best cannot be compared."
        )
    return found


def _few_neighbourhoods(table: Table, fmt: Format) -> list[str]:
    """Warn of a precision that a few real images give away."""
    found = [row.label for row in table.rows if _rests_on_few(row)]
    if not found:
        return []
    return [
        f"The precision of {_all(found, fmt.name)} is no sign of quality: fewer than {LITTLE:.0%} of the real "
        "images have a generated one in their neighbourhood (coverage). A few real images that are unlike all others "
        "have neighbourhoods so wide that noise lies in them."
    ]


def _rests_on_few(row: Row) -> bool:
    """Whether the last or the best generator has more precision than LITTLE and less coverage."""
    means = {
        (kind_of(name.removeprefix(BEST_PREFIX)), name.startswith(BEST_PREFIX)): each.mean
        for name, each in row.estimates.items()
    }
    return any(
        means.get(("precision", is_best), 0) >= LITTLE > means.get(("coverage", is_best), 1)
        for is_best in (False, True)
    )


def _incomplete(table: Table, fmt: Format) -> list[str]:
    return [
        f"{fmt.name(row.label)}: the mean is over {row.num_seeds} of {row.num_runs} runs ({fmt.escape(row.status)})."
        for row in table.rows
        if 0 < row.num_seeds < row.num_runs
    ]


def _floor(table: Table, fmt: Format) -> list[str]:
    """Say how the floor was measured, or how to get what is missing."""
    code = fmt.code
    if table.protocol_hash is None:
        command = code("pipeline evaluate --variant NAME")
        return [f"No run of these rows was measured, and nothing else on their dataset: {command} does it."]
    if table.floor is None:
        command = code(_floor_command(table.protocol))
        return [f"There is no row of real images, the floor of the table: {command} measures it."]
    num_samples = table.protocol.get("num_samples")
    if table.floor.num_measured == num_samples:
        return []
    wanted = fmt.escape(str(num_samples))
    return [
        f"Real images: measured with {table.floor.num_measured:,} images instead of {wanted}, all that "
        "the other half has. Frechet distances grow as images get fewer: with as many, the floor would be lower."
    ]


def evaluate_options(protocol: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options with which `pipeline evaluate` measures under a protocol."""
    seeds = [seed for seed in str(protocol.get("sampling_seeds", "")).split(", ") if seed]
    options = {
        "--num-samples": protocol.get("num_samples"),
        "--num-seeds": len(seeds) or None,
        "--seed": seeds[0] if seeds else None,
        "--extractor": protocol.get("feature_space"),
    }
    return tuple(part for name, value in options.items() if value is not None for part in (name, clean(str(value))))


def _floor_command(protocol: Mapping[str, Any]) -> str:
    """Return the command that measures real images under a protocol."""
    dataset = clean(str(protocol.get("dataset", "DATASET")))
    return shlex.join(["pipeline", "evaluate", "--real", dataset, *evaluate_options(protocol)])


def _all(labels: Sequence[str], name: Markup) -> str:
    """Join labels: "a", "a and b", "a, b and c"."""
    *first, last = [name(label) for label in labels]
    return f"{', '.join(first)} and {last}" if first else last
