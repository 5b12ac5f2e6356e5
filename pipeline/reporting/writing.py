"""From the model of a report to its files."""

import base64
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.reporting.document import Document, compose
from pipeline.reporting.formats import HTML, LATEX, Format
from pipeline.reporting.frames import costs_of, written
from pipeline.reporting.illustrations import Illustrations
from pipeline.reporting.machine import csv_files, json_text
from pipeline.reporting.model import Report
from pipeline.reporting.sentences import sentences

TEMPLATES = Environment(  # texts come escaped, each as its format needs it
    loader=PackageLoader("pipeline.reporting"),
    autoescape=False,  # noqa: S701
    undefined=StrictUndefined,
    trim_blocks=True,
    keep_trailing_newline=True,
)


def files_of(
    report: Report, illustrations: Illustrations, command: str, software: str, formats: Sequence[Format]
) -> dict[str, bytes]:
    """Return the content of every file of a report, by its path below the report's folder. formats: of the pages."""
    texts = {
        **{
            f"report.{fmt.ending}": set_document(compose(report, illustrations, fmt, command, software), fmt)
            for fmt in formats
        },
        "tables.tex": latex(report, software),
        "results.json": json_text(report, software),
        **csv_files(report),
    }
    samples = [*illustrations.same_latents, *illustrations.evolution, *illustrations.interpolations]
    pairs = [picture for shown in illustrations.closest.values() for picture in shown]
    drawn = [plot for plots in illustrations.plots for plot in plots]
    pngs = {each.name: each.png for each in (*samples, *pairs)} | {each.name: each.png for each in drawn}
    files = {name: text.encode(errors="backslashreplace") for name, text in texts.items()}  # half a character
    return files | {f"images/{name}.png": png for name, png in pngs.items()}


def latex(report: Report, software: str) -> str:
    r"""Return each main table with booktabs, without and with costs, to be \input where they are needed."""
    template = TEMPLATES.get_template("tables.tex.jinja")
    tables = [
        {
            "name": table.name,
            "caption": LATEX.escape(table.title),
            "quality": LATEX.grid(written(table, LATEX, costs=False), 20),
            "costs": LATEX.grid(costs_of(table, LATEX), 20),
            "notes": sentences(table, LATEX),
        }
        for table in report.tables
    ]
    return template.render(tables=tables, software=LATEX.escape(software))


def set_document(document: Document, fmt: Format) -> str:
    """Return a document as Markdown, as HTML or as text for a terminal."""
    return TEMPLATES.get_template(f"report.{fmt.ending}.jinja").render(
        document=document,
        escape=fmt.escape,
        base64=lambda content: base64.b64encode(content).decode(),
        style=TEMPLATES.get_template("style.css").render() if fmt is HTML else "",
    )
