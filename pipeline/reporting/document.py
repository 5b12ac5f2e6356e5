"""The order of a report: sections of blocks, whose texts are in the markup of one format. Templates set them."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pandas as pd

from pipeline.metrics.names import BEST_PREFIX, KINDS, header_of, kind_of
from pipeline.reporting.candidates import Wording
from pipeline.reporting.formats import Format
from pipeline.reporting.frames import (
    at_equal_effort,
    environments,
    further,
    runs,
    steadiness,
    uncertainty,
    verdicts,
    written,
)
from pipeline.reporting.illustrations import Illustrations, Picture
from pipeline.reporting.model import CURVES, Group, Report, differences, in_words
from pipeline.reporting.plots import Plot
from pipeline.reporting.sentences import sentences
from pipeline.reporting.stability import MEASURES
from pipeline.reporting.suites import Suite
from pipeline.reporting.tables import Table

HOW_TO_READ = (
    "A value is the mean over training seeds ± their sample standard deviation. With one seed there is no spread, and "
    "nothing can be said about a difference. The spread is no confidence interval.",
    "↓: lower is better, ↑: higher is better. Rows are sorted by the Frechet distance of the last generator.",
    "Without a note a value is of the last generator; best is the generator that was best during training, chosen on "
    "the other half of the images with other samples.",
    "Bold: best, with at least two seeds in every row, and no other interval mean ± spread overlaps.",
    "No overlap is no significance test: two rows that do not differ at all come out apart in 22 % of cases with two "
    "seeds each, in 8 % with three and in 2 % with five (benchmarks/chance.py).",
    "Rows under different protocols cannot be compared: each protocol has a table of its own.",
    "Three kinds of uncertainty stand apart: over training seeds (the one that counts), over sampling seeds, and of "
    "the estimator itself.",
    "Diversity is how much the last samples differ, in units of real images' difference; health is what the watch on a "
    "training and its measurement say.",
    "Costs are means over the finished runs of a row: G is the generator, D the discriminator (critic); seconds are of "
    "training alone.",
    "Real images: other real images against the reference, the floor that no generator is expected to pass.",
)
HASHED = (
    "Rows that are called config and a hash differ in a way that no field of their configuration shows: compare the "
    "artifact config/resolved.yaml and the commit of their runs."
)
CURVES_NOTE = (
    "Mean over seeds with a band of ± their spread, as far as all seeds go; thin lines are single seeds. Of more than "
    "100 points, neighbours are averaged."
)
STILL_RUNNING = "A run that the system killed (kill -9, power failure) still says running."


@dataclass(frozen=True)
class Block:
    """A part of a section. kind: of the macro that sets it; the fields are what that macro needs, in markup."""

    kind: str
    text: str = ""
    items: Sequence[str] = ()
    blocks: Sequence["Block"] = ()
    pictures: Sequence[Picture] = ()
    plot: Plot | None = None


@dataclass(frozen=True)
class Section:
    """A part of a report. anchor: its name in addresses."""

    title: str
    anchor: str
    blocks: Sequence[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    """A report in the markup of one format. made: the one line that may differ from machine to machine."""

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    made: str


def compose(report: Report, illustrations: Illustrations, fmt: Format, command: str, software: str) -> Document:
    """Return the whole report."""
    protocols = len(report.results.protocols)
    num_runs = sum(len(each.trainings) for each in report.results.configurations)
    summary = [*(_of_suite(report.suite, fmt) if report.suite else [])]
    summary += [
        f"{_count(num_runs, 'training run')}, {_count(len(report.results.configurations), 'configuration')}, "
        f"{_count(protocols, 'protocol')}."
    ]
    if report.labels.common:
        summary.append(f"Every run was trained with {fmt.escape(', '.join(report.labels.common))}.")
    if report.labels.hashed:
        summary.append(HASHED)
    sections = [
        *(_table_section(table, report, fmt) for table in report.tables),
        *_difference_section(report.tables, fmt),
        _samples_section(report, illustrations, fmt),
        *(
            _group_section(group, number, illustrations.plots[number], fmt)
            for number, group in enumerate(report.groups)
        ),
        *_environment_section(report, fmt),
        Section("Runs", "runs", [_grid(runs(report.results, report.labels, fmt), fmt), Block("text", STILL_RUNNING)]),
        Section("How to read the tables", "how-to-read", [Block("bullets", items=list(map(fmt.escape, HOW_TO_READ)))]),
    ]
    made = f"Made by {fmt.code(command)}, {fmt.escape(software)}."
    return Document("GAN benchmark", summary, [each for each in sections if each.blocks], made)


def _of_suite(suite: Suite, fmt: Format) -> Iterator[str]:
    """Say which suite it is, and what is missing of it."""
    yield f"{fmt.strong(fmt.escape(suite.title))} (suite {fmt.code(suite.name)}) on {fmt.escape(suite.data)}."
    if suite.missing:
        yield (
            f"Not finished: {len(suite.missing)} of {suite.num_trainings} trainings, "
            f"{fmt.escape(', '.join(suite.missing))}. {fmt.code(suite.run_command)} does the rest."
        )


def _environment_section(report: Report, fmt: Format) -> list[Section]:
    """Show where the trainings that count were computed."""
    frame = environments(report.results, fmt)
    if frame.empty:
        return []
    note = Block("text", "Seconds, and the last bits, can be compared within one environment only.")
    return [Section("Where it was computed", "environments", [note, _grid(frame, fmt)])]


def _table_section(table: Table, report: Report, fmt: Format) -> Section:
    """Return a table, what follows from it, its protocol, and the claims that its rows decide."""
    num_main = sum(metric.in_main for metric in table.metrics)
    blocks = [
        _grid(written(table, fmt), fmt, num_main + 2),
        Block("bullets", items=sentences(table, fmt)),
    ]
    if table.protocol_hash is not None:
        blocks.append(Block("fold", f"The protocol {fmt.escape(table.protocol_hash)}", blocks=list(_card(table, fmt))))
        blocks += _claims(table, report, fmt)
        uncertain = uncertainty(table, fmt)
        if len(uncertain):
            words = Block("text", "Standard deviations; one seed has none.")
            blocks.append(Block("fold", "How sure: three kinds of uncertainty", blocks=[words, _grid(uncertain, fmt)]))
    if (more := further(table, fmt)) is not None:
        blocks.append(Block("fold", "Further numbers", blocks=[_grid(more, fmt, len(more.columns) - 1)]))
    title = fmt.escape(table.title) + (f" (protocol {fmt.code(table.protocol_hash)})" if table.protocol_hash else "")
    return Section(title, f"table-{table.name}", blocks)


def _claims(table: Table, report: Report, fmt: Format) -> Iterator[Block]:
    """Show each claim with its verdict and evidence, what could decide the others, and what no rule can see."""
    judgements = report.judgements(table, Wording(name=fmt.name, code=fmt.code))
    if not judgements:
        return
    yield Block("heading", "What the reports claim")
    yield _grid(verdicts(judgements, fmt), fmt)
    if remedies := dict.fromkeys(remedy for each in judgements for remedy in each.remedies):
        yield Block("fold", "What would decide the undecided", blocks=[Block("bullets", items=list(remedies))])
    unseen = [f"{fmt.name(each.claim.text)} {fmt.escape(each.claim.unseen)}" for each in judgements]
    yield Block("fold", "What the rules cannot see", blocks=[Block("bullets", items=unseen)])


def _card(table: Table, fmt: Format) -> Iterator[Block]:
    """Say what each number is, and show every field of the protocol."""
    names = dict.fromkeys(metric.name.removeprefix(BEST_PREFIX) for metric in table.metrics)
    legend = [
        f"{fmt.escape(header_of(name))} is {fmt.code(name)}: {fmt.escape(KINDS[kind].title)}."
        for name in names
        if (kind := kind_of(name))
    ]
    if legend:
        yield Block("bullets", items=legend)
    fields = [{"field": fmt.escape(key), "value": _value(value, fmt)} for key, value in table.protocol.items()]
    yield _grid(pd.DataFrame(fields), fmt)


def _difference_section(tables: Sequence[Table], fmt: Format) -> list[Section]:
    """Say field by field in what the protocols differ."""
    measured = [table for table in tables if table.protocol_hash]
    items = [
        f"{fmt.code(first.name)} vs {fmt.code(second.name)}: "
        f"{fmt.escape(in_words(differences(first.protocol, second.protocol)))}."
        for number, first in enumerate(measured)
        for second in measured[number + 1 :]
    ]
    if not items:
        return []
    note = Block("text", "Their numbers cannot be compared. All other fields are equal.")
    return [Section("How the protocols differ", "differences", [note, Block("bullets", items=items)])]


def _group_section(group: Group, number: int, plots: Sequence[Plot], fmt: Format) -> Section:
    """Return what was seen during the trainings: at equal effort, how steadily, and all curves."""
    labels = list(group.rows)
    blocks = [
        Block(
            "text",
            "Finished runs only, measured on the half of the images for choices: these numbers are for comparison "
            "with each other, not with the tables. The protocol is the artifact "
            f"{fmt.code('evaluation/selection.json')} of the runs.",
        )
    ]
    measures = [f"{fmt.escape(m.header)} ({fmt.code(key)}): {fmt.escape(m.title)}." for key, m in MEASURES.items()]
    for name, views in group.views.items():
        plain = fmt.code(name.removeprefix(CURVES))
        if views:
            blocks += [
                Block("heading", f"At equal effort: {plain}"),
                Block(
                    "text",
                    "What each row had reached when it had cost as much as the shortest of all runs, and half of that; "
                    "on straight lines between measurements. Bold as in the tables.",
                ),
                _grid(at_equal_effort(views, labels, fmt), fmt, len(views)),
            ]
        blocks += [
            Block("heading", f"Stability: {plain}"),
            _grid(steadiness(group.stability[name], labels, fmt), fmt, len(MEASURES)),
            Block("bullets", items=measures),
        ]
    if plots:
        blocks += [Block("heading", "Curves"), Block("text", CURVES_NOTE)]
    blocks += [Block("plot", _left_out(plot.num_left_out), plot=plot) for plot in plots]
    title = f"During training: {fmt.escape(group.dataset)}"
    selection = f" (measurements {fmt.code(group.selection)})" if group.selection else ""
    return Section(title + selection, f"training-{number}", blocks)


def _samples_section(report: Report, illustrations: Illustrations, fmt: Format) -> Section:
    blocks = []
    parts = {
        "The same latents": illustrations.same_latents,
        "Evolution": illustrations.evolution,
        "Interpolations": illustrations.interpolations,
    }
    for title, shown in parts.items():
        if shown:
            blocks += [Block("heading", title), Block("pictures", pictures=shown)]
    for table in report.tables:
        if shown := illustrations.closest[table.name]:
            title = f"Nearest reference images in the feature space of {fmt.code(table.name)}"
            blocks += [Block("heading", title), Block("pictures", pictures=shown)]
    if blocks:
        note = f"Of last generators, not selected: the first images. {_left_out(illustrations.num_left_out)}".strip()
        blocks.insert(0, Block("text", note))
    return Section("Samples", "samples", blocks)


def _grid(frame: pd.DataFrame, fmt: Format, right: int = 0) -> Block:
    return Block("grid", fmt.grid(frame, right))


def _left_out(number: int) -> str:
    return f"{_count(number, 'further row')} of the table left out." if number else ""


def _value(value: object, fmt: Format) -> str:
    return fmt.escape(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
