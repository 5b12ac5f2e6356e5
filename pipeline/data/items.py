"""What every data source is made of: items that can be loaded in any process."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

HIDDEN_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})


class Rejected(Exception):  # noqa: N818 - a verdict on one image, not an error of the program
    """An image that cannot be used. The message is the reason, as it stands in the manifest."""


@dataclass(frozen=True)
class Item:
    """One would-be image of a source.

    load: called with image_size, in any process (so it must pickle); returns uint8 [image_size, image_size, 3],
        raises Rejected.
    num_bytes: about what pickling `load` costs; bounds the memory of what is on its way to a worker.
    """

    name: str
    load: Callable[[int], Pixels]
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


def reject(reason: str, _image_size: int) -> Pixels:
    """Load an item that is known to be no image: always raises Rejected."""
    raise Rejected(reason)


def is_hidden(name: str) -> bool:
    """Whether a path inside a source belongs to the operating system rather than to the data."""
    parts = name.replace("\\", "/").split("/")
    return any(part in HIDDEN_NAMES or (part.startswith(".") and part.strip(".")) for part in parts)
