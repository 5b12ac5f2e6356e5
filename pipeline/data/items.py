"""What every data source is made of: items that can be loaded in any process."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.choices import Fit

Pixels = NDArray[np.uint8]
HIDDEN_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


class Rejected(Exception):  # noqa: N818 - a verdict on one image, not an error of the program
    """An image that cannot be used. kind: an entry of FINDINGS; the message is the reason, as it stands in reports."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Rule:
    """What canonical pixels are.

    image_size: height and width in pixels.
    fit: how a picture that is no square becomes one: crop takes the central square, pad adds white at its sides.
    """

    image_size: int
    fit: Fit = "crop"


@dataclass(frozen=True)
class Loaded:
    """Canonical pixels, uint8 [image_size, image_size, 3], RGB, and what was found, names of FINDINGS."""

    pixels: Pixels
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Item:
    """One would-be image of a source.

    load: called in any process (so it must pickle); raises Rejected.
    num_bytes: about what pickling `load` costs; bounds the memory of what is on its way to a worker.
    """

    name: str
    load: Callable[[Rule], Loaded]
    num_bytes: int = 0


@dataclass(frozen=True)
class Source:
    """Where images come from.

    spec: as the user gave it.
    default_name: of the dataset made from this source alone.
    fingerprint: JSON values that change when the content may have changed; cheap to obtain.
    count: number of items ahead, for the progress bar. None means endless: as many as one asks for.
    items: a fresh pass over the items, in the source's own order.
    default_num_images: how many an endless source gives when nobody says; None for the others, which give all.
    licence: what is known about rights; empty for a user's own files.
    """

    spec: str
    kind: str
    default_name: str
    fingerprint: Mapping[str, Any]
    count: Callable[[], int | None]
    items: Callable[[], Iterator[Item]]
    default_num_images: int | None
    licence: Mapping[str, str]


def reject(kind: str, reason: str, _rule: Rule) -> Loaded:
    """Load an item that is known to be no image: always raises Rejected."""
    raise Rejected(kind, reason)


def is_hidden(name: str) -> bool:
    """Whether a path inside a source belongs to the operating system rather than to the data."""
    parts = name.replace("\\", "/").split("/")
    return any(part in HIDDEN_NAMES or (part.startswith(".") and part.strip(".")) for part in parts)
