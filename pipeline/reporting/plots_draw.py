"""Panels drawn by matplotlib, as PNG and as SVG. What its user set up for plots of their own has no part in it."""

import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from pipeline.reporting.plots_data import Limits, Line, Panel, limits

INK = "#1a1c1e"  # of texts and axes; the page's own colour takes its place in an SVG
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#D99500", "#45A5E0", INK)
"""Okabe and Ito 2008 without yellow; orange and sky blue are darker. At least 2.5 : 1 on white, 3 : 1 on #1e1e1e."""

MARKER_PATHS = {  # matplotlib's name -> the same around (14, 6), as a path of SVG
    "o": "M11 6a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "s": "M11 3h6v6h-6z",
    "^": "M14 3l3 6h-6z",
    "D": "M14 2l4 4l-4 4l-4-4z",
    "v": "M14 9l3-6h-6z",
}
MARKERS = tuple(MARKER_PATHS)
DASHES = ((), (4.0, 2.0))  # of the first lines, of the next ones
DOTS = (1.0, 2.0)

POINT = 72  # to the inch: one unit of an SVG. All lengths are in these
FONT, SMALL = 11.0, 9.5  # sizes
LEFT, RIGHT, ABOVE, BELOW = 48.0, 12.0, 11.0, 42.0  # of the axes
TEXT_LINE = 15.0
TITLE_CHARACTERS, MOST_LINES = 36, 3
NUM_TICKS, STEPS = 5, (1.0, 2.0, 2.5, 5.0, 10.0)
PNG_SCALE = 2  # pixels of a unit
PNG_PANELS = {1: (460.0, 260.0), 2: (290.0, 195.0)}  # columns -> width and height of a panel without its title


@dataclass(frozen=True)
class Style:
    """How a line looks. dashes: lengths of strokes and gaps in units of the line's width, empty for none."""

    colour: str
    dashes: tuple[float, ...]
    marker: str


@dataclass(frozen=True)
class Key:
    """An entry of a legend. style: as a line's. marked: with its marker."""

    label: str
    style: int
    marked: bool


def style_of(index: int) -> Style:
    """Return the look of line 0, 1, ...; those of the first 14 differ, in the marker as well where they have one."""
    turn, place = divmod(index, len(COLOURS))
    return Style(COLOURS[place], DASHES[turn % len(DASHES)], MARKERS[index % len(MARKERS)])


def part_id(index: int) -> str:
    """Return the id that all parts of a panel's line have in its SVG."""
    return f"line-{index}"


def draw_svg(panel: Panel, width: float = 400.0, height: float = 260.0) -> str:
    """Return a panel as matplotlib writes it: with its ids and with INK. height: with one line of title."""
    height += TEXT_LINE * (len(_wrapped(panel.title)) - 1)
    with _own_settings():
        figure = Figure(figsize=(width / POINT, height / POINT))
        _draw(figure, (0.0, 0.0, width, height), panel, len(_wrapped(panel.title)))
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer := io.StringIO(), format="svg", transparent=True, metadata=no_metadata)
    return buffer.getvalue()


def draw_png(panels: Sequence[Panel], keys: Sequence[Key]) -> bytes:
    """Return at least one panel, in two columns where there are more, and a legend below, on white.

    The PNG has two pixels for each unit.
    """
    columns = min(2, len(panels))
    title_lines = max(len(_wrapped(panel.title)) for panel in panels)
    cell = PNG_PANELS[columns][0], PNG_PANELS[columns][1] + TEXT_LINE * title_lines
    width, rows = cell[0] * columns, -(-len(panels) // columns)
    legend = _legend_rows(keys, width)
    total = rows * cell[1] + sum(map(_height, legend)) + TEXT_LINE
    with _own_settings():
        figure = Figure(figsize=(width / POINT, total / POINT), dpi=POINT * PNG_SCALE, facecolor="white")
        for i, panel in enumerate(panels):
            row, column = divmod(i, columns)
            _draw(figure, (column * cell[0], total - (row + 1) * cell[1], *cell), panel, title_lines)
        _draw_legend(figure, legend, total - rows * cell[1] - TEXT_LINE / 2)
        figure.savefig(raw := io.BytesIO(), format="rgba")
        picture = Image.frombytes("RGBA", figure.canvas.get_width_height(), raw.getvalue()).convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def write_tick(value: float) -> str:
    """Write 20000 as "20k", 0.05 as "0.05" and -1 with a minus sign."""
    size, sign = abs(value), "\N{MINUS SIGN}" if value < 0 else ""
    if size != 0 and not 1e-3 <= size < 1e9:
        mantissa, _, exponent = f"{size:.3e}".partition("e")
        return f"{sign}{float(mantissa):g}e{int(exponent)}"
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{sign}{size / unit:g}{letter}"
    return f"{sign}{size:g}"


@contextmanager
def _own_settings() -> Iterator[None]:
    """Use matplotlib's defaults and ours. A letter that its font lacks is a box, without a warning."""
    settings: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    settings |= {
        "font.size": FONT,
        "text.parse_math": False,  # labels are texts of others: "$" is a dollar
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "gan-benchmark",
        **dict.fromkeys(("text.color", "xtick.color", "ytick.color", "axes.labelcolor", "axes.edgecolor"), INK),
    }
    with warnings.catch_warnings(), matplotlib.rc_context(settings):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _draw(figure: Figure, box: tuple[float, float, float, float], panel: Panel, title_lines: int) -> None:
    """Draw a panel into a box of a figure: left, bottom, width, height."""
    left, bottom, width, height = box
    total_width, total_height = (inches * POINT for inches in figure.get_size_inches())
    above = ABOVE + TEXT_LINE * title_lines
    inner = left + LEFT, bottom + BELOW, width - LEFT - RIGHT, height - BELOW - above
    scale = np.array([total_width, total_height] * 2)
    axes = figure.add_axes(tuple(np.array(inner) / scale))
    for i, text in enumerate(_wrapped(panel.title)):
        y = bottom + height - 6 - TEXT_LINE * i
        figure.text((left + 6) / total_width, y / total_height, text, fontweight="bold", va="top")
    shown = limits(panel)
    _draw_axes(axes, panel, shown)
    for i, each in reversed(list(enumerate(panel.lines))):  # the first row on top
        _draw_line(axes, each, shown, part_id(i))


def _draw_axes(axes: Axes, panel: Panel, shown: Limits) -> None:
    """Draw all but the lines."""
    axes.set_yscale("log" if shown.log else "linear")
    axes.set_ylim(shown.low, shown.high)
    axes.set_xlim(0, max(points.x[-1] for line in panel.lines for points in line.seeds) * 1.02 or 1.0)
    axes.set_xlabel(panel.x_title, labelpad=5)
    subs = (1.0,) if shown.high > 100 * shown.low else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(MaxNLocator(NUM_TICKS, steps=STEPS))
    powers, even = LogLocator(subs=subs, numticks=NUM_TICKS + 3), MaxNLocator(NUM_TICKS, steps=STEPS)
    axes.yaxis.set_major_locator(powers if shown.log and shown.high > 10 * shown.low else even)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: write_tick(value)))
        axis.set_minor_locator(NullLocator())
    axes.tick_params(length=0, pad=5)
    axes.grid(axis="y", color=INK, alpha=0.15, linewidth=0.8)
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.spines["bottom"].set_alpha(0.5)
    axes.set_axisbelow(True)
    if panel.floor is not None and shown.low <= panel.floor <= shown.high:
        axes.axhline(panel.floor, color=INK, linewidth=1.2, dashes=DOTS)
        where = axes.get_yaxis_transform()  # x from 0 to 1, y as the data
        axes.text(1, panel.floor, "real images", transform=where, ha="right", va="bottom", fontsize=SMALL)
    if shown.num_outside:
        note = f"{shown.num_outside:,} point{'s' if shown.num_outside > 1 else ''} outside"
        axes.text(1, 1.0, note, transform=axes.transAxes, ha="right", va="bottom", fontsize=SMALL, fontstyle="italic")


def _draw_line(axes: Axes, line: Line, shown: Limits, gid: str) -> None:
    """Draw the band, the seeds where there are several, and the mean."""
    style, band = style_of(line.style), line.band
    if band is not None and band.spread is not None:
        low, high = (np.clip(band.mean + side * band.spread, shown.low, shown.high) for side in (-1, 1))
        axes.fill_between(band.x, low, high, color=style.colour, alpha=0.16, linewidth=0, gid=gid)
    if band is None or len(line.seeds) > 1:
        for points in line.seeds:
            (drawn,) = axes.plot(points.x, points.y, alpha=0.5, linewidth=0.8, gid=gid)
            _apply(style, drawn, 3.5 if line.marked and not line.band_is_measured else 0.0)
    if band is not None:
        (drawn,) = axes.plot(band.x, band.mean, linewidth=1.8, gid=gid)
        _apply(style, drawn, 5.0 if line.marked and line.band_is_measured else 0.0)


def _apply(style: Style, drawn: Line2D, marker_size: float) -> None:
    """Give a line its looks, with markers of a size, 0 for none."""
    drawn.set_color(style.colour)
    if style.dashes:
        drawn.set_dashes(style.dashes)
    if marker_size:
        drawn.set(marker=style.marker, markersize=marker_size, markeredgewidth=0.0)


def _wrapped(text: str, width: int = TITLE_CHARACTERS) -> list[str]:
    return textwrap.wrap(
        text, width, max_lines=MOST_LINES, placeholder=" …", break_on_hyphens=False
    ) or [""]  # fmt: skip


def _legend_rows(keys: Sequence[Key], width: float) -> list[list[tuple[Key, list[str]]]]:
    """Return the legend row by row, each entry with its lines of text: two in a row where their labels are short."""
    room = int((width / 2 - 48) / (FONT * 0.6))
    columns = 2 if all(len(key.label) <= room for key in keys) else 1
    entries = [(key, _wrapped(key.label, room if columns == 2 else 2 * room)) for key in keys]
    return [entries[i : i + columns] for i in range(0, len(entries), columns)]


def _height(row: Sequence[tuple[Key, list[str]]]) -> float:
    return TEXT_LINE * max(len(lines) for _, lines in row) + 3


def _draw_legend(figure: Figure, rows: Sequence[Sequence[tuple[Key, list[str]]]], top: float) -> None:
    """Draw a legend downwards from y = top."""
    width, height = (inches * POINT for inches in figure.get_size_inches())
    for row in rows:
        for column, (key, lines) in enumerate(row):
            x = 8 + column * width / 2
            y = (top - TEXT_LINE / 2) / height
            swatch = Line2D([x / width, (x + 13) / width, (x + 26) / width], [y] * 3, linewidth=1.8, markevery=[1])
            _apply(style_of(key.style), swatch, 5.0 if key.marked else 0.0)
            figure.add_artist(swatch)
            for i, text in enumerate(lines):
                figure.text((x + 34) / width, (top - TEXT_LINE * (i + 0.5)) / height, text, va="center")
        top -= _height(row)
