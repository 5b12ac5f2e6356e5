"""What is noted of every loaded image, in files that grow while memory does not."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.findings import NOTES
from pipeline.data.items import Loaded, Pixels
from pipeline.data.near_duplicates import LENGTH

BUFFER_BYTES = 2**20
RECORD = np.dtype([("digest", "S32"), ("thumbnail", "u1", (LENGTH,)), ("notes", "<u4"), ("is_image", "?")])

Records = NDArray[np.void]


@dataclass(frozen=True)
class Scratch:
    """The files of one pass over sources; entry k of each belongs to slot k, the k-th item that was read.

    pixels is None where only the records are wanted.
    """

    pixels: Path | None
    records: Path
    names: Path

    def records_of(self, num_slots: int) -> Records:
        """Return the records of the first slots, read-only."""
        if not num_slots:
            return np.empty(0, RECORD)
        return np.memmap(self.records, RECORD, "r", shape=(num_slots,))

    def append_names(self, names: Iterable[str]) -> None:
        """Note the names of the next slots."""
        with self.names.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(name) + "\n" for name in names)

    def names_of(self, slots: Iterable[int]) -> Mapping[int, str]:
        """Return the names of some slots."""
        wanted = set(slots)
        if not wanted:
            return {}
        with self.names.open(encoding="utf-8") as file:
            return {slot: json.loads(line) for slot, line in enumerate(file) if slot in wanted}

    def open_pixels(self) -> AbstractContextManager[IO[bytes] | None]:
        """Open the file of pixels for writing; None where there is none."""
        return nullcontext() if self.pixels is None else self.pixels.open("r+b", buffering=BUFFER_BYTES)

    def pixels_of(self, slots: NDArray[np.int64], image_size: int) -> Pixels:
        """Return the pixels of some slots, uint8 [N, image_size, image_size, 3]."""
        assert self.pixels is not None, "pixels are written unless a source is only checked"  # noqa: S101
        pixels = np.empty((len(slots), image_size, image_size, 3), np.uint8)
        with self.pixels.open("rb") as file:
            for row, slot in zip(pixels, slots.tolist(), strict=True):
                file.seek(slot * row.nbytes)
                file.readinto(row.data)
        return pixels


def note(record: Any, loaded: Loaded, digest: bytes, thumbnail: Pixels) -> None:
    """Fill the record of an image."""
    record["digest"] = digest
    record["thumbnail"] = thumbnail
    record["notes"] = sum(1 << NOTES.index(name) for name in loaded.notes)
    record["is_image"] = True


def slots_with(records: Records) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Give each note that some image has, and the slots that have it."""
    for place, name in enumerate(NOTES):
        slots = np.flatnonzero(records["notes"] >> place & 1)
        if len(slots):
            yield name, slots
