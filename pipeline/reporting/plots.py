"""The figures of the report: learning curves, losses and health of trainings, row by row of the table.

A page of HTML takes the panels of a figure one by one and lays them out by its width, two side by side on a screen
and one below the other on a telephone, with one legend for all of them. Markdown takes the PNG that has them all.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.reporting.curves import AXES, MOST_DRAWN, Trajectory
from pipeline.reporting.plots_data import Line, Panel, line
from pipeline.reporting.plots_draw import MARKER_PATHS, Key, draw_png, draw_svg, part_id, style_of
from pipeline.reporting.plots_svg import page_colour, page_svg

NEVER = float("inf")  # logarithmic from this ratio on
UPDATES = "discriminator_updates"
LOSSES = {"train/loss_discriminator": "loss of the discriminator", "train/loss_generator": "loss of the generator"}

Rows = Mapping[str, Sequence[Trajectory]]


@dataclass(frozen=True)
class Quantity:
    """A metric with a panel of its own. log_from: the ratio of its ends from which on the panel is logarithmic."""

    metric: str
    title: str
    log_from: float = NEVER


HEALTH = (
    Quantity("health/diversity", "Diversity of samples (real: 1)"),
    Quantity("health/saturation", "Saturation of the discriminator"),
    Quantity("health/generator_gradient", "Gradient norm of the generator", log_from=3.0),
)


@dataclass(frozen=True)
class Entry:
    """An entry of a legend. label: plain text, to be escaped. swatch: SVG of 28 x 12 pixels."""

    label: str
    swatch: str


@dataclass(frozen=True)
class Plot:
    """A figure. alt: what it shows, plain text, to be escaped. panels: SVG, for HTML. png: all of them and the legend.

    num_left_out: rows beyond MOST_DRAWN, which the figure does not show.
    """

    name: str
    alt: str
    panels: Sequence[str]
    legend: Sequence[Entry]
    png: bytes
    num_left_out: int


@dataclass(frozen=True)
class _Row:
    label: str
    style: int
    runs: Sequence[Trajectory]


def learning_curves(
    rows: Rows,
    name: str,
    metric: str,
    *,
    title: str,
    axes: Sequence[str] = tuple(AXES),
    scale: float = 1.0,
    floor: float | None = None,
) -> Plot | None:
    """Draw a metric against what the training took, a panel for each of `axes` (keys of AXES); None without data.

    rows: runs of each row, by its label, in the order of the table. name: unique on the page. scale: what the metric is
    multiplied by, and the floor, the value of real images, as well.
    """
    shown, num_left_out = _shown(rows, [metric])
    level = None if floor is None else floor * scale
    panels = [
        Panel(title, AXES[axis].title, lines, floor=level)
        for axis in axes
        if (lines := _lines(shown, metric, axis, scale))
    ]
    return _plot(name, f"{title} of {_all(shown)}", panels, _keys(panels), num_left_out)


def losses(rows: Rows, name: str, axis: str = UPDATES) -> Plot | None:
    """Draw both losses of each row in a panel of its own: those of different losses cannot be compared."""
    shown, num_left_out = _shown(rows, LOSSES)
    panels = []
    for row in shown:
        found = [line(title, i, row.runs, metric, AXES[axis]) for i, (metric, title) in enumerate(LOSSES.items())]
        if lines := [each for each in found if each is not None]:
            panels.append(Panel(row.label, AXES[axis].title, lines, log_from=NEVER))
    return _plot(name, f"losses of {_all(shown)}", panels, _keys(panels), num_left_out)


def health(rows: Rows, name: str, axis: str = UPDATES, quantities: Sequence[Quantity] = HEALTH) -> Plot | None:
    """Draw what the watch on the trainings saw, a panel for each quantity."""
    shown, num_left_out = _shown(rows, [each.metric for each in quantities])
    panels = [
        Panel(each.title, AXES[axis].title, lines, log_from=each.log_from)
        for each in quantities
        if (lines := _lines(shown, each.metric, axis))
    ]
    titles = ", ".join(panel.title for panel in panels)
    return _plot(name, f"{titles} of {_all(shown)}", panels, _keys(panels), num_left_out)


def _shown(rows: Rows, metrics: Iterable[str]) -> tuple[list[_Row], int]:
    """Return the first rows that have a point of a metric, and how many more there are.

    Rows that are no more than colours keep theirs in all figures, those without data too.
    """
    wanted = list(metrics)
    found = [
        _Row(_clean(label), style, runs)
        for style, (label, runs) in enumerate(rows.items())
        if any(run.finite(metric) is not None for run in runs for metric in wanted)
    ]
    shown = found[:MOST_DRAWN]
    if len(rows) > MOST_DRAWN:
        shown = [_Row(row.label, i, row.runs) for i, row in enumerate(shown)]
    return shown, len(found) - len(shown)


def _lines(rows: Sequence[_Row], metric: str, axis: str, scale: float = 1.0) -> list[Line]:
    found = [line(row.label, row.style, row.runs, metric, AXES[axis], scale) for row in rows]
    return [each for each in found if each is not None]


def _plot(name: str, alt: str, panels: Sequence[Panel], keys: Sequence[Key], num_left_out: int) -> Plot | None:
    """Draw the panels; None without any."""
    if not panels:
        return None
    safe = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    drawn = []
    for i, panel in enumerate(panels):
        tooltips = {part_id(j): each.label for j, each in enumerate(panel.lines)}
        description = f"{panel.title} against {panel.x_title}: {', '.join(tooltips.values())}"
        drawn.append(page_svg(draw_svg(panel), f"{safe}-{i}", description, tooltips))
    legend = [Entry(key.label, _swatch(key)) for key in keys]
    return Plot(name, alt, drawn, legend, draw_png(panels, keys), num_left_out)


def _keys(panels: Sequence[Panel]) -> list[Key]:
    """Return a legend for all panels, in the order of the rows."""
    lines = {each.style: each for panel in panels for each in panel.lines}
    marked = {each.style for panel in panels for each in panel.lines if each.marked}
    return [Key(lines[style].label, style, style in marked) for style in sorted(lines)]


def _swatch(key: Key) -> str:
    """Draw a piece of a line."""
    style = style_of(key.style)
    colour = page_colour(style.colour)
    dashes = f' stroke-dasharray="{" ".join(f"{2 * length:g}" for length in style.dashes)}"' if style.dashes else ""
    marker = f'<path d="{MARKER_PATHS[style.marker]}" fill="{colour}"/>' if key.marked else ""
    return (
        '<svg viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">'
        f'<path d="M0 6H28" stroke="{colour}" stroke-width="2"{dashes}/>{marker}</svg>'
    )


def _all(rows: Sequence[_Row]) -> str:
    return ", ".join(row.label for row in rows)


def _clean(text: str) -> str:
    """Return a text as one line of printable letters, which any XML can hold."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
