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
from pipeline.data.dataset import blocks, start_digest
from pipeline.data.items import Item, Source
from pipeline.data.workers import Loading, Outcome


@dataclass
class Counts:
    """What became of the images of one source: read = kept + rejected + duplicates + left_out.

    left_out: good images above the number asked for.
    """

    read: int = 0
    kept: int = 0
    rejected: int = 0
    duplicates: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Decoded:
    """A distinct image: its place in the scratch file, the sha256 of its pixels and the index of its source."""

    slot: int
    pixels_sha256: bytes
    owner: int


@dataclass
class Collection:
    """Everything read so far. counts and rejected belong to the sources in the order given."""

    sources: Sequence[Source]
    images: list[Decoded] = field(default_factory=list)
    counts: list[Counts] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    _seen: set[bytes] = field(default_factory=set)

    def read(self, loading: Loading, num_images: int | None, bar: "tqdm[Any]") -> None:
        """Load every item of every source; of an endless one, as many as give num_images distinct images."""
        for owner, source in enumerate(self.sources):
            self.counts.append(Counts())
            items = source.items()
            if source.default_num_images is None:
                self._add(owner, loading.run(items), bar)
                continue
            assert num_images is not None, "a request to an endless source has a number"  # noqa: S101
            while missing := num_images - len(self.images):  # again after duplicates, with the next of the source
                bar.total = self.counts[owner].read + missing
                self._add(owner, loading.run(islice(items, missing)), bar)

    def choose(self, num_images: int | None) -> list[Decoded]:
        """Pick num_images images (None: all) and put them in their final order.

        Files are ordered by the sha256 of their canonical pixels and the first num_images kept: a pseudo-random
        sample that does not depend on names, folders, archives or sharding, and in which a smaller request is the
        beginning of a bigger one. Drawn images have an order of their own, the index. UserError if there are fewer.
        """
        if not self.images:
            raise UserError(f"--source: no image is left of {sum(c.read for c in self.counts)} files{self._why()}.")
        if num_images is not None and len(self.images) < num_images:
            raise UserError(
                f"--num-images: the source has {len(self.images)} distinct images, asked for {num_images}. "
                "Ask for fewer or give more sources."
            )
        is_drawn = any(source.default_num_images is not None for source in self.sources)
        ordered = self.images if is_drawn else sorted(self.images, key=lambda image: image.pixels_sha256)
        chosen = ordered[:num_images]
        for image in chosen:
            self.counts[image.owner].kept += 1
        for counts in self.counts:
            counts.left_out = counts.read - counts.kept - counts.rejected - counts.duplicates
        return chosen

    def _add(self, owner: int, results: Iterable[tuple[Item, int, Outcome]], bar: "tqdm[Any]") -> None:
        counts = self.counts[owner]
        for item, slot, outcome in results:
            counts.read += 1
            if isinstance(outcome, str):
                counts.rejected += 1
                self.rejected.append({"source": self.sources[owner].spec, "name": item.name, "reason": outcome})
            elif outcome in self._seen:
                counts.duplicates += 1
            else:
                self._seen.add(outcome)
                self.images.append(Decoded(slot, outcome, owner))
            bar.update()

    def _why(self) -> str:
        """Quote the first few reasons for rejecting."""
        reasons = [f"{entry['name']}: {entry['reason']}" for entry in self.rejected[:3]]
        return f" ({'; '.join(reasons)}{'; ...' if len(self.rejected) > 3 else ''})" if reasons else ""


def write_images(path: Path, scratch: Path, images: Sequence[Decoded], image_size: int) -> str:
    """Write the chosen images as a .npy file, uint8 [N, H, W, 3], and return its content digest.

    Written front to back in blocks: flat memory, and a full disk is an OSError, where a memory map would crash.
    """
    shape = (len(images), image_size, image_size, 3)
    digest = start_digest(shape)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in _gather(scratch, [image.slot for image in images], image_size):
            digest.update(block.data)
            file.write(block.data)
    return digest.hexdigest()


def _gather(scratch: Path, slots: Sequence[int], image_size: int) -> Iterator[NDArray[np.uint8]]:
    with scratch.open("rb") as file:
        for block in blocks(len(slots)):
            pixels = np.empty((block.stop - block.start, image_size, image_size, 3), np.uint8)
            for row, slot in zip(pixels, slots[block], strict=True):
                file.seek(slot * row.nbytes)
                file.readinto(row.data)
            yield pixels
