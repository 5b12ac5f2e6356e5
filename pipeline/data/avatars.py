"""The built-in source: cartoon faces, drawn from packages that are installed anyway, so no download is needed.

The parts come from DiceBear's style "adventurer"; its licence and attribution are read from the style's own data.
"""

import functools
import itertools
from collections.abc import Iterator
from importlib import metadata, resources

import resvg_py
from dicebear import Avatar, Style

from pipeline.data.decoding import decode_bytes
from pipeline.data.items import Item, Loaded, Rule, Source

NAME = "avatars"
STYLE = "adventurer"
NUM_IMAGES = 51_223  # as many as the anime faces of the reports
DRAWING_VERSION = 1  # raise it when the same index would give another picture
SCALE = 1.2  # the style leaves a margin: at this scale heads fill the frame and hair is hardly cut
BACKGROUNDS = ("b6e3f4", "c0aede", "d1d4f9", "ffd5dc", "ffdfbf", "d0f0c0")  # pastels
PACKAGES = ("dicebear-core", "dicebear-styles", "resvg-py")


def open_avatars(spec: str) -> Source | None:
    """Give the built-in source if `spec` is its name. A folder of that name is reached as ./avatars."""
    if spec != NAME:
        return None
    return Source(
        spec=spec,
        kind="built-in",
        default_name=NAME,
        fingerprint={
            "kind": "built-in",
            "name": NAME,
            "drawing_version": DRAWING_VERSION,
            **{package: metadata.version(package) for package in PACKAGES},
        },
        count=lambda: None,
        items=_items,
        default_num_images=NUM_IMAGES,
        licence=licence(),
    )


def draw(index: int, rule: Rule) -> Loaded:
    """Draw avatar number `index` at rule.image_size: a function of its arguments alone."""
    options = {"seed": f"avatar-{index}", "backgroundColor": list(BACKGROUNDS), "scale": SCALE}
    svg = str(Avatar(_style(), options))
    png = resvg_py.svg_to_bytes(svg_string=svg, width=rule.image_size, height=rule.image_size, skip_system_fonts=True)
    return decode_bytes(png, rule)


def licence() -> dict[str, str]:
    """Say whose drawings these are and on which terms, from the style's own data."""
    meta = _style().meta()
    facts = {
        "licence": meta.license().name(),
        "licence_url": meta.license().url(),
        "attribution": meta.license().text(),
        "creator": meta.creator().name(),
        "creator_url": meta.creator().url(),
        "work": meta.source().name(),
        "work_url": meta.source().url(),
        "changes": "parts and colours combined at random, enlarged, rasterised on a plain background",
    }
    return {key: value for key, value in facts.items() if value}


def _items() -> Iterator[Item]:
    for index in itertools.count():
        yield Item(name=f"avatar-{index}", load=functools.partial(draw, index))


@functools.cache
def _style() -> Style:
    definition = resources.files("dicebear_styles").joinpath(f"{STYLE}.json")
    return Style.from_json(definition.read_text(encoding="utf-8"))
