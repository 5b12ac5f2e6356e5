"""What was measured of one set of samples, kept on disk until all sets of a generator are.

Samples and their features cost minutes to hours, the numbers have a few hundred bytes: a stopped evaluation loses the
set that it was at, not those before.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from gan.files import remove_leftovers, write_atomic
from pipeline.metrics.distances import Estimate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """The numbers of one set of samples by their keys, and the keys of FLAGS that it raises."""

    estimates: Mapping[str, Estimate]
    flags: Sequence[str]


_MEASURED = TypeAdapter(Measured)


@dataclass(frozen=True)
class Kept:
    """A folder with a file for each sampling seed."""

    folder: Path

    def read(self, seed: int) -> Measured | None:
        """Return what was measured with a seed; None where nothing was, or its file cannot be used (a warning)."""
        path = self._path(seed)
        try:
            return _MEASURED.validate_python(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s: cannot be used (%s); measuring again", path, type(error).__name__)
            return None

    def write(self, seed: int, measured: Measured) -> None:
        """Keep what was measured with a seed. A file that cannot be written costs only a warning."""
        path, content = self._path(seed), json.dumps(asdict(measured))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
            write_atomic(path, lambda temporary: _write_text(temporary, content))
        except OSError as error:
            log.warning("%s: cannot be written (%s); after a stop it is measured again", path, error.strerror)

    def forget(self) -> None:
        """Remove the folder: its numbers are stored elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, seed: int) -> Path:
        return self.folder / f"{seed}.json"


def _write_text(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
