"""Pictures made of stored grids of images: what runs make of the same latents, and how it came about.

The images stay as they are, pixel for pixel; pictures are PNG, and the same images give the same bytes.
"""

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
GAP = 2  # pixels between the images of a grid, and around it
WHITE = 255
INK = (26, 28, 30)
SIZE, LINE, BELOW_TEXT = 14, 19, 3  # of letters, of a line of them, between the last line and images
MARGIN, BETWEEN = 8, 10  # around a picture, between its groups
MOST_LINES, NARROWEST = 4, 8  # of a heading: lines, letters in one


class NotAGridError(ValueError):
    """A picture that is no grid of so many columns."""


@dataclass(frozen=True)
class Strip:
    """A row of images, uint8 [N, h, h, 3], N >= 1, with a label on its left, empty for none."""

    label: str
    images: Pixels


@dataclass(frozen=True)
class Group:
    """Strips below a heading, empty for none, and headings of their columns, none for none."""

    heading: str
    strips: Sequence[Strip]
    columns: Sequence[str] = ()


def pixels(content: bytes) -> Pixels:
    """Decode a picture into uint8 [H, W, 3]. Raises NotAGridError where it is none."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise NotAGridError("This is no picture, or a damaged one.") from error


def png(picture: Pixels) -> bytes:
    """Encode uint8 [H, W, 3] without a loss."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def cells(picture: Pixels, columns: int) -> Pixels:
    """Return the square images of a grid, uint8 [N, h, h, 3], row by row: the inverse of pipeline.images.grid.

    picture: uint8 [H, W, 3]. columns: how many the grid has. The places that a last row leaves free are white images.
    Raises NotAGridError where the sizes do not fit, or what lies between the images is not white.
    """
    height, width = picture.shape[:2]
    cell, rest = divmod(width - GAP, columns)
    rows, rest_of_height = divmod(height - GAP, max(cell, 1))
    if cell <= GAP or rest or rest_of_height or rows == 0:
        raise NotAGridError(f"A picture of {width} x {height} pixels is no grid of {columns} square images in a row.")
    tiles = picture[GAP:, GAP:].reshape(rows, cell, columns, cell, 3).swapaxes(1, 2)
    gaps = (picture[:GAP], picture[:, :GAP], tiles[:, :, -GAP:], tiles[:, :, :, -GAP:])
    if any((gap != WHITE).any() for gap in gaps):
        raise NotAGridError(f"There are no white gaps between {columns} images in a row.")
    return tiles[:, :, :-GAP, :-GAP].reshape(rows * columns, cell - GAP, cell - GAP, 3)


def same_latents(rows: Mapping[str, Mapping[str, Pixels]], num_latents: int = 8) -> Pixels | None:
    """Return what each run makes of the same first latents: a strip for each run, below its row's label.

    rows: images of runs, uint8 [N, h, h, 3], by label of the row and by seed. None without any.
    """
    return sheet(
        Group(label, [Strip(f"seed {_clean(seed)}", images[:num_latents]) for seed, images in runs.items()])
        for label, runs in rows.items()
    )


def evolution(grids: Mapping[int, Pixels], num_latents: int = 4, num_steps: int = 8) -> Pixels | None:
    """Return what a run makes of a few latents, from left to right at steps spread over its training.

    grids: images of the same latents, uint8 [N, h, h, 3], by step. None without any.
    """
    steps = spread(grids, num_steps)
    if not steps:
        return None
    series = np.stack([grids[step][:num_latents] for step in steps], axis=1)
    return sheet([Group("", [Strip("", images) for images in series], [f"{step:,}" for step in steps])])


def interpolations(rows: Mapping[str, Pixels], columns: int, num_paths: int = 2) -> Pixels | None:
    """Return the first paths between latents of each row, below its label.

    rows: images, uint8 [paths * columns, h, h, 3], by label. None without any.
    """
    return sheet(
        Group(label, [Strip("", path) for path in np.split(images, range(columns, len(images), columns))[:num_paths]])
        for label, images in rows.items()
    )


def spread(steps: Iterable[int], num: int) -> list[int]:
    """Return at most `num` >= 2 of the steps, increasing, at distances as equal as they allow, with first and last."""
    known = np.unique(np.fromiter(steps, dtype=np.int64))
    if len(known) <= num:
        return [int(step) for step in known]
    wanted = np.linspace(known[0], known[-1], num)
    nearest = np.abs(known[None, :] - wanted[:, None]).argmin(axis=1)
    return [int(step) for step in known[np.unique(nearest)]]


def sheet(groups: Iterable[Group]) -> Pixels | None:
    """Return groups one below the other on white, uint8 [H, W, 3], in black letters; None without a strip."""
    kept = [group for group in groups if group.strips]
    if not kept:
        return None
    font = ImageFont.load_default(SIZE)
    labels = [strip.label for group in kept for strip in group.strips]
    left = MARGIN + max(int(np.ceil(font.getlength(label))) for label in labels) + (MARGIN if any(labels) else 0)
    width = left + max(_width(strip.images) for group in kept for strip in group.strips) + MARGIN
    parts = [np.full((MARGIN, width, 3), WHITE, np.uint8)]
    for group in kept:
        parts += [_drawn(group, left, width, font), np.full((BETWEEN, width, 3), WHITE, np.uint8)]
    return np.concatenate(parts)


def _drawn(group: Group, left: int, width: int, font: Font) -> Pixels:
    """Return a group as wide as the sheet. left: where its images begin."""
    heading = textwrap.wrap(
        _clean(group.heading),
        max(int((width - 2 * MARGIN) / font.getlength("n")), NARROWEST),
        max_lines=MOST_LINES,
        placeholder=" ...",
        break_on_hyphens=False,
    )
    num_lines = len(heading) + bool(group.columns)
    above = num_lines * LINE + BELOW_TEXT if num_lines else 0
    sides = [int(strip.images.shape[1]) for strip in group.strips]
    image = Image.new("RGB", (width, above + sum(sides) + GAP * (len(sides) - 1)), (WHITE,) * 3)
    draw = ImageDraw.Draw(image)
    for i, text in enumerate(heading):
        draw.text((MARGIN, i * LINE), text, INK, font)
    for i, text in enumerate(group.columns):
        draw.text((left + i * (sides[0] + GAP) + sides[0] / 2, len(heading) * LINE), text, INK, font, anchor="ma")
    top = above
    for strip, side in zip(group.strips, sides, strict=True):
        draw.text((left - MARGIN, top + side / 2), strip.label, INK, font, anchor="rm")
        for i, each in enumerate(strip.images):
            image.paste(Image.fromarray(each), (left + i * (side + GAP), top))
        top += side + GAP
    return np.asarray(image)


def _width(images: Pixels) -> int:
    """Return how many pixels wide images are side by side."""
    return len(images) * (int(images.shape[2]) + GAP) - GAP


def _clean(text: str) -> str:
    """Return a text as one line of printable letters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
