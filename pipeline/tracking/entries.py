"""What waits to be sent to a run: points of curves, images and files of checkpoints, in memory or in a file each."""

import io
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Metric
from PIL import Image

from gan.files import write_atomic, write_text_atomic
from pipeline.tracking.handover import store_checkpoint
from pipeline.tracking.runs import RunWriter

log = logging.getLogger(__name__)


@dataclass
class Points:
    """Points of curves for one request.

    file: where they wait on disk; None while they are in memory alone.
    """

    metrics: list[Metric]
    file: Path | None = None

    def remove(self) -> None:
        """Remove the file."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    @property
    def name(self) -> str:
        """Return a file name that says what is inside."""
        return f"points-of-steps-{self.metrics[0].step}-{self.metrics[-1].step}.json"

    def write(self, path: Path) -> None:
        """Write the points; values as text, because JSON has no NaN and no infinity."""
        rows = [[metric.key, repr(metric.value), metric.timestamp, metric.step] for metric in self.metrics]
        write_text_atomic(path, json.dumps(rows))

    @classmethod
    def read(cls, path: Path, content: bytes) -> "Points":
        """Return what was written. Raises ValueError or TypeError where it is damaged."""
        rows = json.loads(content)
        return cls([Metric(str(key), float(value), int(time), int(step)) for key, value, time, step in rows], path)


@dataclass
class Picture:
    """An image of a series, uint8 [H, W, 3], under the name that it has in the store.

    stem: see RunWriter.log_image_of_series. file: where it waits on disk; None while it is in memory alone.
    """

    image: np.ndarray
    stem: str
    file: Path | None = None

    def remove(self) -> None:
        """Remove the file."""
        if self.file is not None:
            self.file.unlink(missing_ok=True)

    @property
    def name(self) -> str:
        """Return a file name that says what is inside."""
        return f"{self.stem}.png"

    @property
    def place(self) -> str:
        """Return key and step: a series has one image of each step."""
        return place_of(self.stem)

    def write(self, path: Path) -> None:
        """Write the image as PNG."""
        write_atomic(path, Image.fromarray(self.image).save)

    @classmethod
    def read(cls, path: Path, content: bytes) -> "Picture":
        """Return what was written. Raises OSError, SyntaxError or ValueError where it is damaged."""
        return cls(np.array(Image.open(io.BytesIO(content)).convert("RGB")), path.stem.split("-", 1)[1], path)


@dataclass
class CheckpointFiles:
    """A checkpoint for other machines: the tensor file of its step, and that of the best generator so far.

    step: of the checkpoint. files: path of each tensor file; once `linked`, of a link that outlives the original.
    descriptions: what the JSON beside each says, by name. file: where it waits on disk; None while in memory alone.
    """

    step: int
    files: list[Path]
    descriptions: Mapping[str, Any]
    file: Path | None = None

    @property
    def name(self) -> str:
        """Return a file name that says what is inside."""
        return f"checkpoint-of-step-{self.step}.checkpoint"

    def linked(self, directory: Path) -> "CheckpointFiles":
        """Return the same with links in a folder: the originals may be removed before they are sent."""
        directory.mkdir(parents=True, exist_ok=True)
        links = [directory / path.name for path in self.files]
        for link, path in zip(links, self.files, strict=True):
            link.unlink(missing_ok=True)
            try:
                os.link(path, link)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, link)
        return CheckpointFiles(self.step, links, self.descriptions)

    def write(self, path: Path) -> None:
        """Write what is to be sent."""
        content = {"step": self.step, "files": [each.name for each in self.files], "descriptions": self.descriptions}
        write_text_atomic(path, json.dumps(content))

    @classmethod
    def read(cls, path: Path, content: bytes) -> "CheckpointFiles":
        """Return what was written. Raises ValueError, TypeError or KeyError where it is damaged."""
        found = json.loads(content)
        files = [path.parent / Path(name).name for name in found["files"]]
        if missing := [each.name for each in files if not each.is_file()]:
            raise ValueError(f"{', '.join(missing)} is gone")
        return cls(int(found["step"]), files, dict(found["descriptions"]), path)

    def send(self, writer: RunWriter) -> None:
        """Store the files for whoever goes on with the run. Raises what the store raises."""
        store_checkpoint(writer, self.step, self.files, self.descriptions)

    def remove(self) -> None:
        """Remove the links and the file."""
        for each in (*self.files, *([self.file] if self.file else [])):
            each.unlink(missing_ok=True)


Entry = Points | Picture | CheckpointFiles
KINDS: Mapping[str, type[Entry]] = {".json": Points, ".png": Picture, ".checkpoint": CheckpointFiles}


def place_of(stem: str) -> str:
    """Return key and step of an image's stem."""
    return stem.partition("+timestamp+")[0]


def counted(entries: Sequence[Entry]) -> str:
    """Return how much waits, in words."""
    num_points = sum(len(entry.metrics) for entry in entries if isinstance(entry, Points))
    return f"{num_points:,} points and {sum(isinstance(entry, Picture) for entry in entries):,} images"


def load_entries(directory: Path) -> list[Entry]:
    """Return what an earlier process left, in its order; what is damaged is named and dropped."""
    for unfinished in directory.glob(".*"):  # of a process that was killed while writing
        unfinished.unlink()
    found: list[Entry] = []
    for path in sorted(directory.glob("[0-9]*-*")):
        content = path.read_bytes()
        try:
            found.append(KINDS[path.suffix].read(path, content))
        except (ValueError, TypeError, KeyError, OSError, SyntaxError):
            log.warning("%s is damaged: the tracking store will not get %s", path, path.stem.split("-", 1)[1])
            path.unlink()
    linked = {each for entry in found if isinstance(entry, CheckpointFiles) for each in entry.files}
    for link in set(directory.glob("step-*.pt")) - linked:
        link.unlink()
    return found
