"""From sources to the distinct images of a dataset, counted and in an order that depends on content alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gan.errors import UserError
from pipeline.data.choices import NearDuplicates
from pipeline.data.dataset import blocks, start_digest
from pipeline.data.items import Item, Source
from pipeline.data.near_duplicates import near_duplicates
from pipeline.data.records import Records, Scratch
from pipeline.data.workers import Loading, Rejection

Slots = NDArray[np.int64]


@dataclass
class Counts:
    """What became of the images of one source: read is the sum of all others.

    left_out: good images above the number asked for. near_duplicates: removed ones.
    """

    read: int = 0
    kept: int = 0
    rejected: int = 0
    duplicates: int = 0
    near_duplicates: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Choice:
    """The images of a dataset.

    slots: in their final order. duplicates, near: [M, 2], a slot and the one that it equals, or nearly equals.
    """

    slots: Slots
    duplicates: Slots
    near: Slots


@dataclass
class Collection:
    """Everything read so far. counts belong to the sources in the order given, whose slots follow each other."""

    sources: Sequence[Source]
    scratch: Scratch
    counts: list[Counts] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    def read(self, loading: Loading, num_images: int | None, bar: "tqdm[Any]") -> None:
        """Load every item of every source; of an endless one, as many as give num_images distinct images."""
        for source in self.sources:
            self.counts.append(Counts())
            items = source.items()
            if source.default_num_images is None:
                self._add(loading, items, bar)
                continue
            assert num_images is not None, "a request to an endless source has a number"  # noqa: S101
            while missing := num_images - _num_distinct(self.records):  # again after duplicates
                bar.total = self.counts[-1].read + missing
                self._add(loading, islice(items, missing), bar)

    def choose(self, num_images: int | None, near_rule: NearDuplicates = "report") -> Choice:
        """Pick num_images images (None: all) and put them in their final order.

        Files are ordered by the sha256 of their canonical pixels and the first num_images kept: a pseudo-random
        sample that does not depend on names, folders, archives or sharding, and in which a smaller request is the
        beginning of a bigger one. Drawn images have an order of their own, the index. UserError if there are fewer.
        """
        records = self.records
        if not records["is_image"].any():
            num_read = sum(counts.read for counts in self.counts)
            why = f": {self.rejected_in_words()}" if self.rejected else ""
            raise UserError(f"--source: no image is left of {num_read} files{why}.")
        slots, duplicates = _distinct(records)
        near = np.empty((0, 2), np.int64)
        if near_rule != "ignore":
            near = slots[near_duplicates(records["thumbnail"][slots])]
        if near_rule == "remove":
            slots = slots[~np.isin(slots, near[:, 0])]
        if any(source.default_num_images is not None for source in self.sources):
            slots = np.sort(slots)
        if num_images is not None and len(slots) < num_images:
            raise UserError(
                f"--num-images: the source has {len(slots)} distinct images, asked for {num_images}. "
                "Ask for fewer or give more sources."
            )
        choice = Choice(slots[:num_images], duplicates, near)
        self._count(choice, removed=near[:, 0] if near_rule == "remove" else near[:0, 0])
        return choice

    @property
    def records(self) -> Records:
        """What is known of every slot."""
        return self.scratch.records_of(sum(counts.read for counts in self.counts))

    def owners(self, slots: Iterable[int]) -> list[int]:
        """Return the index of each slot's source."""
        ends = np.cumsum([counts.read for counts in self.counts])
        return [int(owner) for owner in np.searchsorted(ends, list(slots), side="right")]

    def _add(self, loading: Loading, items: Iterable[Item], bar: "tqdm[Any]") -> None:
        for num_items, rejected in loading.run(items):
            self.counts[-1].read += num_items
            self.rejected += rejected
            bar.update(num_items)

    def _count(self, choice: Choice, removed: Slots) -> None:
        def per_source(slots: Iterable[int]) -> list[int]:
            return [int(number) for number in np.bincount(self.owners(slots), minlength=len(self.counts))]

        kept, duplicates = per_source(choice.slots.tolist()), per_source(choice.duplicates[:, 0].tolist())
        rejected, near = per_source([entry.slot for entry in self.rejected]), per_source(removed.tolist())
        for counts, *numbers in zip(self.counts, kept, rejected, duplicates, near, strict=True):
            counts.kept, counts.rejected, counts.duplicates, counts.near_duplicates = numbers
            counts.left_out = counts.read - sum(numbers)

    def rejected_in_words(self) -> str:
        """Say how many files were rejected, and of the first few why."""
        reasons = [f"{entry.name}: {entry.reason}" for entry in self.rejected[:3]]
        more = "; ..." if len(self.rejected) > len(reasons) else ""
        return f"{len(self.rejected):,} rejected ({'; '.join(reasons)}{more})"


def _num_distinct(records: Records) -> int:
    return len(np.unique(records["digest"][records["is_image"]]))


def _distinct(records: Records) -> tuple[Slots, Slots]:
    """Return the slots of distinct images in the order of their digests, and the others with the slot they equal."""
    images = np.flatnonzero(records["is_image"])
    digests = records["digest"][images]
    order = np.argsort(digests, kind="stable")  # of equal images the first that was read comes first
    is_first = np.ones(len(order), bool)
    is_first[1:] = digests[order[1:]] != digests[order[:-1]]
    firsts = images[order[is_first]]
    equal_to = firsts[np.cumsum(is_first) - 1]
    return firsts, np.stack([images[order], equal_to], axis=1)[~is_first]


def write_images(path: Path, scratch: Scratch, slots: Slots, image_size: int) -> str:
    """Write the images of some slots as a .npy file, uint8 [N, H, W, 3], and return its content digest.

    Written front to back in blocks: flat memory, and a full disk is an OSError, where a memory map would crash.
    """
    shape = (len(slots), image_size, image_size, 3)
    digest = start_digest(shape)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in _pixels(scratch, slots, image_size):
            digest.update(block.data)
            file.write(block.data)
    return digest.hexdigest()


def _pixels(scratch: Scratch, slots: Slots, image_size: int) -> Iterator[NDArray[np.uint8]]:
    for block in blocks(len(slots)):
        yield scratch.pixels_of(slots[block], image_size)
