"""Checkpoints: a tensor file and a readable JSON beside it that names its checksum. The JSON makes it valid.

The last KEEP are kept, and the one with the best generator that a kept one knows of.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gan.errors import UserError
from gan.files import remove_leftovers, sha256_of, storage_errors, write_json_atomic
from gan.tensor_files import read_tensors, write_tensors_atomic

FORMAT = 2
KEEP = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run in one folder; the last KEEP are kept.

    fingerprint: what the checkpoints belong to (configuration, seed, images, code); others are refused.
    """

    directory: Path
    fingerprint: str

    def save(self, step: int, content: dict[str, Any], *, best_step: int = 0) -> None:
        """Write tensors and plain values as the checkpoint of a step, atomically, and remove old ones.

        best_step: the step whose checkpoint has the best generator; 0 where none was evaluated.
        """
        path = self._path(step)
        with storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            write_tensors_atomic(path, content)
            description = {
                "format": FORMAT,
                "step": step,
                "best_step": best_step,
                "fingerprint": self.fingerprint,
                "sha256": sha256_of(path),
            }
            write_json_atomic(path.with_suffix(".json"), description)
            self._remove_old(step)

    def load(self, step: int) -> dict[str, Any] | None:
        """Return the checkpoint of a step, or None where it is missing or damaged."""
        return self._load(self._path(step))

    def load_latest(self) -> dict[str, Any] | None:
        """Return the newest checkpoint that is whole, or None; a damaged one is skipped with a warning.

        Raises UserError for a checkpoint of another format version or of another run.
        """
        for path in self._descriptions():
            if (content := self._load(path.with_suffix(".pt"))) is not None:
                return content
            log.warning("%s is damaged: going back to the checkpoint before it", path.with_suffix(".pt"))
        return None

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half written; for the one process that writes here."""
        remove_leftovers(self.directory)
        described = {path.with_suffix(".pt") for path in self._descriptions()}
        for path in set(self.directory.glob("step-*.pt")) - described:
            path.unlink(missing_ok=True)

    def _path(self, step: int) -> Path:
        return self.directory / f"step-{step:09d}.pt"

    def _descriptions(self) -> list[Path]:
        return sorted(self.directory.glob("step-*.json"), reverse=True)

    def _describe(self, path: Path) -> dict[str, Any]:
        """Return what the JSON beside a checkpoint says, or nothing where it is damaged."""
        try:
            description = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return description if isinstance(description, dict) else {}

    def _load(self, path: Path) -> dict[str, Any] | None:
        description = self._describe(path)
        try:
            whole = description.get("sha256") == sha256_of(path)
        except OSError:
            whole = False
        if not whole:
            return None
        self._check(path, description)
        try:
            content = read_tensors(path)
        except Exception as error:  # of many types, all of which mean that this program did not write it
            raise UserError(f"{path}: holds other things than tensors and numbers. Delete it and its JSON.") from error
        if not isinstance(content, dict):
            kind = type(content).__name__
            raise UserError(f"{path}: must hold tensors and numbers by name, got {kind}. Delete it and its JSON.")
        return content

    def _remove_old(self, step: int) -> None:
        """Remove all but the last KEEP and the best that these know of; newer ones than this were damaged."""
        until_now = [path for path in self._descriptions() if path <= self._path(step).with_suffix(".json")]
        kept = set(until_now[:KEEP])
        best_steps = [self._describe(path).get("best_step") for path in kept]
        kept |= {self._path(each).with_suffix(".json") for each in best_steps if type(each) is int}
        for old in set(self._descriptions()) - kept:
            old.unlink()
            old.with_suffix(".pt").unlink(missing_ok=True)

    def _check(self, path: Path, description: dict[str, Any]) -> None:
        if description.get("format") != FORMAT:
            raise UserError(
                f"{path}: format must be {FORMAT}, got {description.get('format')}. "
                "Go on with the version that wrote it, or delete the folder to start again."
            )
        if description.get("fingerprint") != self.fingerprint:
            raise UserError(
                f"{path}: belongs to another configuration, dataset or code version. "
                "Delete the folder to start again, or go back to what it was made with."
            )
