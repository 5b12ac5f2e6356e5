"""Checkpoints: a tensor file and a readable JSON beside it that names its checksum. The JSON makes it valid."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gan.errors import UserError
from gan.files import sha256_of, storage_errors, write_json_atomic, write_tensors_atomic

FORMAT = 1
KEEP = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run in one folder; the last KEEP are kept.

    fingerprint: what the checkpoints belong to (configuration, seed, images, code); others are refused.
    """

    directory: Path
    fingerprint: str

    def save(self, step: int, content: dict[str, Any]) -> None:
        """Write tensors and plain values as the checkpoint of a step, atomically, and remove old ones."""
        path = self.directory / f"step-{step:09d}.pt"
        with storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            write_tensors_atomic(path, content)
            description = {"format": FORMAT, "step": step, "fingerprint": self.fingerprint, "sha256": sha256_of(path)}
            write_json_atomic(path.with_suffix(".json"), description)
        for old in self._descriptions()[KEEP:]:
            old.unlink()
            old.with_suffix(".pt").unlink(missing_ok=True)

    def load_latest(self) -> dict[str, Any] | None:
        """Return the newest checkpoint that is whole, or None; a damaged one is skipped with a warning.

        Raises UserError for a checkpoint of another format version or of another run.
        """
        for description_path in self._descriptions():
            path = description_path.with_suffix(".pt")
            try:
                description = json.loads(description_path.read_text())
                whole = description["sha256"] == sha256_of(path)
            except (OSError, ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                log.warning("%s is damaged: going back to the checkpoint before it", path)
                continue
            self._check(path, description)
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return content
        return None

    def _descriptions(self) -> list[Path]:
        return sorted(self.directory.glob("step-*.json"), reverse=True)

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
