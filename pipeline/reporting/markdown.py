"""The report as markdown. Texts of the store are escaped: they can break neither a table nor the page."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipeline.metrics.names import KINDS, kind_of
from pipeline.reporting.frames import further, runs, uncertainty, written
from pipeline.reporting.labels import Labels
from pipeline.reporting.results import BEST_PREFIX, Results, clean
from pipeline.reporting.sentences import sentences
from pipeline.reporting.tables import Table

SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
HOW_TO_READ = """\
How to read the tables:

- A value is the mean over training seeds ± their sample standard deviation. With one seed there is no spread, and
  nothing can be said about a difference. The spread is no confidence interval.
- ↓: lower is better, ↑: higher is better. Rows are sorted by the Frechet distance of the last generator.
- Without a note a value is of the last generator; *at best* is of the generator that was best during training, chosen
  on the other half of the images with other samples.
- Three kinds of uncertainty stand apart: over training seeds (the one that counts), over sampling seeds, and of the
  estimator itself.
- **Bold**: best, with at least two seeds in every row, and no other interval mean ± spread overlaps.
- Rows under different protocols cannot be compared: each protocol has a table of its own.
- Costs are means over the finished runs of a row: G is the generator, D the discriminator (critic).
- *real images*: other real images against the reference, the floor that no generator is expected to pass."""

HASHED = (
    "Rows that are called *config* and a hash differ in the code of `gan/` or in a field that is neither an override "
    "nor a logged parameter: compare the artifact `config/resolved.yaml` and the commit of their runs."
)


@dataclass(frozen=True)
class Picture:
    """A row's grid of samples. file: relative to the report; None where no run of the row has one."""

    label: str
    file: str | None
    seed: str
    steps: str
    run_name: str


def escape(text: str) -> str:
    """Return a text that markdown shows as it is, in tables too."""
    safe = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(lambda match: "\\" + match.group(), safe)


def strong(text: str) -> str:
    """Return what is written already, in bold."""
    return f"**{text}**"


def code(text: str) -> str:
    """Return a command or a name as code."""
    return f"`{clean(text).replace('`', '')}`"


def render(
    results: Results, labels: Labels, tables: Sequence[Table], pictures: Sequence[Picture], command: str, software: str
) -> str:
    """Return the whole report."""
    num_runs = sum(len(each.trainings) for each in results.configurations)
    common = f"\n\nEvery run was trained with {escape(', '.join(labels.common))}." if labels.common else ""
    hashed = f"\n\n{HASHED}" if labels.hashed else ""
    parts = [
        "# GAN benchmark",
        f"{_count(num_runs, 'training run')}, {_count(len(results.configurations), 'configuration')}, "
        f"{_count(len(results.protocols), 'protocol')}.{common}{hashed}",
        HOW_TO_READ,
        *_legend(tables),
        *(_section(table) for table in tables),
        *_differences(tables),
        *_samples(pictures),
        "## Runs",
        _grid(runs(results, labels, escape)),
        "A run that the system killed (kill -9, power failure) still says *running*.",
        "---",
        f"Made by {code(command)}, {escape(software)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _legend(tables: Sequence[Table]) -> list[str]:
    """Say what each number is that stands in a table."""
    found = {kind_of(metric.name.removeprefix(BEST_PREFIX)) for table in tables for metric in table.metrics}
    lines = [f"- {code(kind)}: {each.title}." for kind, each in KINDS.items() if kind in found]
    return ["\n".join(["The numbers, each in the feature space that its name ends with:", "", *lines])] if lines else []


def _section(table: Table) -> str:
    """Return a table, what follows from it and the card of its protocol."""
    words = sentences(table, lambda label: strong(escape(label)), code)
    parts = [
        f"## {escape(table.title)}" + (f" (protocol {code(table.protocol_hash)})" if table.protocol_hash else ""),
        _grid(written(table, escape=escape, strong=strong, costs=True), right=_num_main(table) + 1),
        "\n".join(f"- {sentence}" for sentence in words),
    ]
    if (more := further(table, escape=escape)) is not None:
        parts += ["Further numbers:", _grid(more, right=len(more.columns) - 1)]
    if table.protocol_hash is not None:
        uncertain = uncertainty(table, escape=escape)
        if len(uncertain):
            parts += ["How sure (standard deviations; one seed has none):", _grid(uncertain)]
        parts += ["The protocol:", _grid(_card(table))]
    return "\n\n".join(part for part in parts if part)


def _num_main(table: Table) -> int:
    return sum(metric.in_main for metric in table.metrics)


def _card(table: Table) -> pd.DataFrame:
    """Return every field of a protocol."""
    return pd.DataFrame([{"field": escape(key), "value": _value(value)} for key, value in table.protocol.items()])


def _differences(tables: Sequence[Table]) -> list[str]:
    """Say field by field in what the protocols differ."""
    protocols: Mapping[str, Mapping[str, Any]] = {t.protocol_hash: t.protocol for t in tables if t.protocol_hash}
    if len(protocols) < 2:
        return []
    fields = list(dict.fromkeys(field for protocol in protocols.values() for field in protocol))
    lines = []
    for field in fields:
        values = {key: _value(protocol[field]) if field in protocol else "" for key, protocol in protocols.items()}
        if len(set(values.values())) > 1:
            lines.append({"field": escape(field)} | {code(key): value for key, value in values.items()})
    return ["## How the protocols differ", _grid(pd.DataFrame(lines)), "All other fields are equal."]


def _samples(pictures: Sequence[Picture]) -> list[str]:
    parts = ["## Samples", "The first seed of each row, 64 images of the last generator, not selected."]
    for picture in pictures:
        label = escape(picture.label)
        if picture.file is None:
            parts.append(f"**{label}**: no finished run has a grid of samples.")
        else:
            parts.append(f"![{label}, seed {escape(picture.seed)}]({picture.file})")
            parts.append(
                f"**{label}**, seed {escape(picture.seed)}, {picture.steps} steps (run {escape(picture.run_name)})"
            )
    return parts


def _value(value: object) -> str:
    return escape(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def _grid(frame: pd.DataFrame, right: int = 0) -> str:
    """Return a markdown table; the `right` columns after the first one are aligned to the right."""
    alignments = ["right" if 0 < column <= right else "left" for column in range(len(frame.columns))]
    return str(frame.to_markdown(index=False, disable_numparse=True, colalign=alignments))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
