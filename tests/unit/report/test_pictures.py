import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.images import grid
from pipeline.reporting.pictures import (
    GAP,
    MARGIN,
    Group,
    NotAGridError,
    Pixels,
    Strip,
    cells,
    evolution,
    interpolations,
    pixels,
    png,
    same_latents,
    sheet,
    spread,
)

SIDE = 16


def images(num: int, side: int = SIDE, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (num, side, side, 3), dtype=np.uint8)


def grid_of(content: Pixels, columns: int = 8) -> Pixels:
    return grid(torch.from_numpy(content).permute(0, 3, 1, 2), columns)


def places(picture: Pixels, content: Pixels) -> list[tuple[int, int]]:
    """Return where one image lies in a picture: top and left."""
    windows = np.lib.stride_tricks.sliding_window_view(picture, content.shape)[:, :, 0]
    rows, columns = (windows == content).all(axis=(2, 3, 4)).nonzero()
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]


@pytest.mark.parametrize(("num", "columns", "side"), [(64, 8, 64), (80, 10, 64), (8, 8, 4), (2, 1, 5), (9, 3, 1)])
def test_cells_are_the_inverse_of_a_grid(num: int, columns: int, side: int) -> None:
    content = images(num, side)
    found = cells(grid_of(content, columns), columns)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, content)


@given(st.integers(2, 20), st.integers(1, 5), st.integers(1, 6))
def test_cells_of_a_last_row_that_is_not_full_are_white(num: int, columns: int, side: int) -> None:
    columns = min(columns, num)
    content = images(num, side)
    found = cells(grid_of(content, columns), columns)
    assert len(found) == -(-num // columns) * columns
    np.testing.assert_array_equal(found[:num], content)
    assert (found[num:] == 255).all()


@pytest.mark.parametrize(
    "picture",
    [
        grid_of(images(16))[:-1],
        grid_of(images(16))[:, :-1],
        np.pad(grid_of(images(16)), ((0, 0), (0, 1), (0, 0)), constant_values=255),
        grid_of(images(16), columns=4),  # another number of columns
        np.zeros((2 + 18, 2 + 8 * 18, 3), np.uint8),  # no gaps
        np.full((2, 2, 3), 255, np.uint8),
        np.full((4, 18, 3), 255, np.uint8),  # nothing but gaps
        np.full((2, 2 + 8 * 18, 3), 255, np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        images(1, 1)[0],
    ],
)
def test_what_is_no_grid_is_refused(picture: Pixels) -> None:
    with pytest.raises(NotAGridError):
        cells(picture, 8)


@pytest.mark.parametrize("where", [(0, 5), (5, 0), (5, 1), (-1, 5), (5, -1), (5, 18), (18, 5), (19, 25)])
def test_a_gap_that_is_not_white_is_refused(where: tuple[int, int]) -> None:
    picture = grid_of(images(16)).copy()
    picture[where] = 254
    with pytest.raises(NotAGridError, match="white gaps"):
        cells(picture, 8)


def test_png_loses_nothing_and_what_is_no_picture_is_refused() -> None:
    picture = grid_of(images(16))
    content = png(picture)
    np.testing.assert_array_equal(pixels(content), picture)
    with Image.open(io.BytesIO(content)) as image:
        assert image.info == {}
    for damaged in (b"", b"not a picture", content[:100], content[: len(content) // 2]):
        with pytest.raises(NotAGridError):
            pixels(damaged)


def test_the_same_latents_stand_in_the_same_columns() -> None:
    rows = {"dcgan": {"0": images(64, seed=1), "1": images(64, seed=2)}, "wgan (lr=0.1)": {"0": images(64, seed=3)}}
    picture = same_latents(rows)
    assert picture is not None
    runs = [content for seeds in rows.values() for content in seeds.values()]
    found = [[places(picture, content[i]) for i in range(8)] for content in runs]
    assert all(len(place) == 1 for row in found for place in row)
    lefts = [[place[0][1] for place in row] for row in found]
    assert lefts[0] == lefts[1] == lefts[2] == [lefts[0][0] + i * (SIDE + GAP) for i in range(8)]
    tops = [{place[0][0] for place in row} for row in found]
    assert all(len(top) == 1 for top in tops)
    first, second, third = (top.pop() for top in tops)
    assert second - first == SIDE + GAP
    assert third - second > SIDE + GAP + MARGIN  # another row of the table, with its label above
    assert not any(places(picture, content[8]) for content in runs)
    assert (picture[:, : lefts[0][0]] < 100).any()  # seeds
    assert (picture[first - 15 : first, MARGIN:] < 100).any()  # the label
    assert picture.shape[1] == lefts[0][-1] + SIDE + MARGIN


def test_labels_are_wrapped_and_cut() -> None:
    short, long, endless = (
        same_latents({label: {"0": images(8)}}) for label in ("a", "optimizer.lr=0.0002, " * 3, "word " * 5000)
    )
    assert short is not None
    assert long is not None
    assert endless is not None
    assert short.shape[0] < long.shape[0] < endless.shape[0] < short.shape[0] + 100
    assert short.shape[1] == long.shape[1] == endless.shape[1]


@pytest.mark.parametrize("label", ['<script>&"', "$x$", "x" * 3000, "é顔😀", "", "two\nlines\x00", "\ud800"])
def test_any_label_can_be_drawn(label: str) -> None:
    picture = same_latents({label: {label[:20]: images(8)}})
    assert picture is not None
    assert len(places(picture, images(8)[0])) == 1


def test_labels_are_one_line() -> None:
    clean, odd = (same_latents({"a b": {seed: images(8)}}) for seed in ("1 2", " 1\n2\x00"))
    assert clean is not None
    assert odd is not None
    np.testing.assert_array_equal(clean, odd)


def test_columns_of_the_evolution_are_steps_spread_over_it() -> None:
    grids = {step: images(64, seed=step) for step in range(0, 2100, 100)}
    picture = evolution({step: grids[step] for step in reversed(grids)})
    assert picture is not None
    found = {step: places(picture, content[0]) for step, content in grids.items()}
    shown = [step for step, place in found.items() if place]
    assert shown == spread(grids, 8) == [0, 300, 600, 900, 1100, 1400, 1700, 2000]
    lefts = [found[step][0][1] for step in shown]
    assert lefts == [MARGIN + i * (SIDE + GAP) for i in range(8)]
    tops = [places(picture, grids[300][i])[0][0] for i in range(4)]
    assert np.diff(tops).tolist() == [SIDE + GAP] * 3
    assert not places(picture, grids[300][4])
    assert (picture[: tops[0]] < 100).any()  # headings


@pytest.mark.parametrize(
    ("steps", "expected"),
    [([], []), ([7], [7]), ([5, 0], [0, 5]), ([0, 1, 2, 100], [0, 1, 2, 100]),
     ([0, 1, 2, 3, 50, 97, 98, 99, 100], [0, 50, 100]), ([3, 2, 1, 5, 4], [1, 2, 4, 5])],
)  # fmt: skip
def test_spread_steps(steps: list[int], expected: list[int]) -> None:
    num = 3 if len(steps) == 9 else 4
    assert spread(steps, num) == expected


@given(st.sets(st.integers(0, 10**6), min_size=1), st.integers(2, 10))
def test_first_and_last_step_are_always_there(steps: set[int], num: int) -> None:
    found = spread(steps, num)
    assert found == sorted(set(found))
    assert len(found) <= num
    assert set(found) <= steps
    assert {min(steps), max(steps)} <= set(found)


def test_interpolations_are_the_first_paths() -> None:
    content = images(80)
    picture = interpolations({"dcgan": content, "wgan": images(80, seed=1)}, columns=10)
    assert picture is not None
    first, second = ([places(picture, content[10 * path + i])[0] for i in range(10)] for path in range(2))
    assert [left for _, left in first] == [left for _, left in second] == [MARGIN + i * (SIDE + GAP) for i in range(10)]
    assert second[0][0] - first[0][0] == SIDE + GAP
    assert not places(picture, content[20])


def test_nothing_to_show_is_no_picture() -> None:
    assert same_latents({}) is None
    assert same_latents({"a": {}}) is None
    assert evolution({}) is None
    assert interpolations({}, 10) is None
    assert sheet([Group("a", [])]) is None


def test_fewer_images_than_columns_and_other_sizes_find_their_place() -> None:
    picture = sheet(
        [Group("a", [Strip("", images(2)), Strip("", images(3, 2 * SIDE))]), Group("", [Strip("", images(1))])]
    )
    assert picture is not None
    assert len(places(picture, images(3, 2 * SIDE)[2])) == 1
    assert picture.shape[1] == 2 * MARGIN + 3 * (2 * SIDE + GAP) - GAP
    assert evolution({5: images(2)}) is not None


def test_same_images_same_bytes_in_every_process() -> None:
    script = (
        "import hashlib, numpy as np\n"
        "from pipeline.reporting.pictures import png, same_latents\n"
        "images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)\n"
        "print(hashlib.sha256(png(same_latents({'a é': {'0': images}}))).hexdigest())\n"
    )
    picture = same_latents({"a é": {"0": images(8)}})
    assert picture is not None
    digests = {hashlib.sha256(png(picture)).hexdigest()}
    for seed in "12":
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[3])}
        command = [sys.executable, "-c", script]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.add(result.stdout.strip())
    assert len(digests) == 1
