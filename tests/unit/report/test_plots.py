import hashlib
import io
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pipeline.reporting.curves import AXES, MOST_DRAWN, Curve, Trajectory
from pipeline.reporting.plots import Plot, health, learning_curves, losses
from pipeline.reporting.plots_data import Panel, line
from pipeline.reporting.plots_draw import COLOURS, INK, draw_svg, style_of, write_tick

FD = "curve/fd"
MINUS = "\N{MINUS SIGN}"
HOSTILE = '<script>&" \' $x$ $\\frac{ #1a1c1e url(#p) id="a" \N{LATIN SMALL LETTER E WITH ACUTE}顔😀'


def curve(steps: Sequence[float], values: Sequence[float]) -> Curve:
    return Curve(np.array(steps, float), np.array(values, float))


def run(
    steps: Sequence[float], values: Sequence[float], metric: str = FD, every: int = 1, batch: int = 1
) -> Trajectory:
    seconds = curve([0, max(steps)], [0, 10.0 * max(steps)])
    return Trajectory("0", {metric: curve(steps, values), "time/seconds": seconds}, every, batch)


ROWS = {
    "dcgan": [run([0, 4, 8], [90, 50, 30], batch=64), run([0, 4, 8], [80, 60, 20], batch=64)],
    "wgan": [run([5, 10, 20], [70, 60, 50], every=5, batch=64)],
}


def drawn(
    rows: Mapping[str, Sequence[Trajectory]] = ROWS,
    name: str = "fd",
    axes: Sequence[str] = ("images",),
    floor: float | None = None,
) -> Plot:
    plot = learning_curves(rows, name, FD, title="fd ↓", axes=axes, floor=floor)
    assert plot is not None
    return plot


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 - ours


def test_every_axis_has_a_panel_where_it_has_data() -> None:
    assert len(drawn(axes=tuple(AXES)).panels) == 4
    without_time = {"a": [Trajectory("0", {FD: curve([1, 2], [1, 2])})]}
    assert len(drawn(without_time, axes=tuple(AXES)).panels) == 3


def test_the_scale_is_the_floor_s_as_well() -> None:
    small, large = ({"a": [run([1, 2], [0.5 * scale, 0.625 * scale])]} for scale in (1, 1000))
    scaled = learning_curves(small, "n", FD, title="t", scale=1000, floor=0.25)
    plain = learning_curves(large, "n", FD, title="t", floor=250)
    assert scaled is not None
    assert plain is not None
    assert scaled.panels == plain.panels


def test_nothing_to_draw_is_no_figure() -> None:
    nothing: list[Mapping[str, Sequence[Trajectory]]] = [
        {}, {"a": []}, {"a": [run([1], [math.nan])]}, {"a": [Trajectory("0", {})]}
    ]  # fmt: skip
    for rows in nothing:
        assert learning_curves(rows, "n", FD, title="t") is None
        assert losses(rows, "n") is None
        assert health(rows, "n") is None


@pytest.mark.parametrize("num_points", [1, 2])
def test_one_run_with_few_points_is_drawn(num_points: int) -> None:
    plot = drawn({"a": [run(list(range(num_points)), [5.0] * num_points)]}, floor=1.0)
    assert plot.panels[0].count("<use") == num_points  # a marker each
    assert "real images" in plot.panels[0]
    assert "1 point outside" in drawn({"a": [run([0, 1, 2], [0, 1, 20])]}).panels[0]


def test_losses_have_a_panel_for_each_row() -> None:
    names = ("train/loss_discriminator", "train/loss_generator")
    one = Trajectory("0", {name: curve([1, 2, 3], [1, -2, i]) for i, name in enumerate(names)})
    plot = losses({"a": [one], "b (without)": [], "c": [Trajectory("0", {names[1]: curve([1, 2], [1, 1])})]}, "l")
    assert plot is not None
    assert [root.attrib["aria-label"].split()[0] for root in map(parsed, plot.panels)] == ["a", "c"]
    assert [entry.label for entry in plot.legend] == ["loss of the discriminator", "loss of the generator"]


def test_health_has_a_panel_for_each_quantity() -> None:
    runs = [run([1, 2], [1, 50], "health/generator_gradient"), run([0, 9], [0, 1], "health/diversity")]
    plot = health({"a": runs[:1], "b": runs[1:]}, "h")
    assert plot is not None
    assert len(plot.panels) == 2
    assert [entry.label for entry in plot.legend] == ["a", "b"]


def test_rows_keep_their_colour_and_the_rest_is_counted() -> None:
    plot = drawn({"a": [], "b": [run([1, 2], [1, 2])]})
    assert style_of(1).colour in plot.legend[0].swatch
    assert style_of(1).colour.lower() in plot.panels[0]
    many = drawn({f"row {i}": [run([1, 2], [1, 2])] if i else [] for i in range(MOST_DRAWN + 4)})
    assert (len(many.legend), many.num_left_out) == (MOST_DRAWN, 3)
    assert [entry.label for entry in many.legend] == [f"row {i}" for i in range(1, MOST_DRAWN + 1)]
    assert len({entry.swatch for entry in many.legend}) == MOST_DRAWN
    assert "<title>row 1</title>" in many.panels[0]
    assert style_of(0).colour in many.legend[0].swatch
    assert "stroke-dasharray" in many.legend[-1].swatch
    assert "stroke-dasharray" not in many.legend[0].swatch
    assert len({(style_of(i).colour, style_of(i).dashes) for i in range(2 * len(COLOURS))}) == 2 * len(COLOURS)


def test_colours_are_seen_on_light_and_dark_pages() -> None:
    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark = luminance("#1e1e1e")
    for colour in set(COLOURS) - {INK}:  # that is the page's own
        assert 1.05 / (luminance(colour) + 0.05) > 2.4
        assert (luminance(colour) + 0.05) / (dark + 0.05) > 3


def test_svg_takes_colours_fonts_and_width_from_the_page() -> None:
    for text in drawn(floor=1.0).panels:
        root = parsed(text)
        assert {key: root.attrib[key] for key in ("role", "width")} == {"role": "img", "width": "100%"}
        assert len(root.attrib["viewBox"].split()) == 4
        assert "height" not in root.attrib
        assert root.attrib["aria-label"].endswith(": dcgan, wgan")
        assert "currentColor" in text
        assert INK not in text
        colours = {each.lower() for each in re.findall('(?:fill|stroke): *([^;"]+)', text)}
        assert colours == {"none", "currentcolor", style_of(0).colour.lower(), style_of(1).colour.lower()}
        assert not re.search("font-family|DejaVu|<style|<metadata|<!DOCTYPE|<\\?xml", text)
        assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")
        words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"fd ↓", "real images"} <= set(words)
        assert not re.search(r'\bd="[^"]*\d\.\d{3}', text)


def test_what_matplotlib_writes_is_the_same_each_time() -> None:
    found = line("a", 0, ROWS["dcgan"], FD, AXES["images"])
    assert found is not None
    panel = Panel("t", "x", [found])
    assert draw_svg(panel) == draw_svg(panel)
    assert "date" not in draw_svg(panel)


def test_ids_are_those_of_one_figure_alone() -> None:
    texts = [*drawn(name="fd: a/b", axes=("images", "seconds")).panels, *drawn(name="fd-2").panels]
    ids = [identity for text in texts for identity in re.findall(r' id="([^"]*)"', text)]
    assert len(ids) == len(set(ids)) > 0
    assert all(re.fullmatch("(fd-a-b|fd-2)-[0-9]-[0-9]+", identity) for identity in ids)
    for text in texts:
        referred = {*re.findall(r"url\(#([^)]*)\)", text), *re.findall(r'href="#([^"]*)"', text)}
        assert referred == set(re.findall(r' id="([^"]*)"', text))


@pytest.mark.parametrize(
    "label", [HOSTILE, "$x$", "$\\frac{$", "x" * 3000, "many words " * 200, "", "_hidden", "two\nlines\x00\ud800"]
)
def test_labels_are_texts_and_nothing_else(label: str, recwarn: pytest.WarningsRecorder) -> None:
    names = ("train/loss_discriminator", "train/loss_generator")
    one = Trajectory("0", {name: curve([1, 2, 3], [1, 2, 3]) for name in names} | {FD: curve([1], [1])})
    for plot in (losses({label: [one]}, "l"), drawn({label: [one]})):
        assert plot is not None
        (root,) = map(parsed, plot.panels)
        assert "<script" not in plot.panels[0]
        assert not [element for element in root.iter() if element.tag.endswith("script")]
        if label[:1] in {"<", "$"}:
            texts = [element.text for element in root.iter() if element.tag.endswith(("}text", "}title"))]
            assert label in root.attrib["aria-label"]
            assert label in texts or " ".join(text or "" for text in texts[-2:]) == label
        with Image.open(io.BytesIO(plot.png)) as image:
            assert image.width < 1300
    assert [str(each.message) for each in recwarn] == []


def test_huge_values_stay_inside_the_picture() -> None:
    spike = [*[1.0, -1.0] * 100, 1e30]
    plot = losses({"a": [run(range(201), spike, "train/loss_generator")]}, "l")
    assert plot is not None
    assert "1 point outside" in plot.panels[0]
    assert not re.search(r"\d{7}", plot.panels[0])


def test_png_is_white_and_without_a_date() -> None:
    content = drawn().png
    with Image.open(io.BytesIO(content)) as image:
        assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert image.width == 920  # two pixels of each unit
        assert image.info == {}
    assert len(content) < 100_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.05, "0.05"), (-1.5, f"{MINUS}1.5"), (1500.0, "1.5k"), (-20000.0, f"{MINUS}20k"), (2.5e6, "2.5M"),
     (1e10, "1e10"), (-2.5e-4, f"{MINUS}2.5e-4"), (999.0, "999"), (285.25, "285.25")],
)  # fmt: skip
def test_ticks_are_short(value: float, text: str) -> None:
    assert write_tick(value) == text


def test_same_input_same_bytes_in_every_process_whatever_the_user_s_settings(tmp_path: Path) -> None:
    script = (
        "import hashlib\n"
        "from tests.unit.report.test_plots import drawn\n"
        "plot = drawn(floor=10.0)\n"
        "print(hashlib.sha256(''.join(plot.panels).encode() + plot.png).hexdigest())\n"
    )
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\nsvg.fonttype: path\n")
    here = drawn(floor=10.0)
    digests = {hashlib.sha256("".join(here.panels).encode() + here.png).hexdigest()}
    for seed in "12":
        command = [sys.executable, "-c", script]
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3]), "HOME": str(Path.home())}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        digests.add(result.stdout.strip())
    assert len(digests) == 1


def test_importing_is_light() -> None:
    script = (
        "import sys, pipeline.reporting.plots, pipeline.reporting.pictures\n"
        "print({'torch', 'torchvision', 'mlflow', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
