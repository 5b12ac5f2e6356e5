"""Checkpoints that other machines can go on from: the tracking store has a copy."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gan.checkpoints import Checkpoints
from gan.files import sha256_of, storage_errors, write_json_atomic
from pipeline.tracking import BackgroundOutbox, Run, Store
from pipeline.tracking.entries import CheckpointFiles
from pipeline.tracking.handover import FOLDER, new_token, stored_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sharing:
    """That a training keeps its checkpoints in the tracking store too.

    every_seconds: from one copy to the next. token: of this attempt. replaces: attempts that are known to be dead, so
    that nobody waits for a sign of their life.
    """

    every_seconds: float
    token: str = field(default_factory=new_token)
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class SharedCheckpoints(Checkpoints):
    """Checkpoints of which every so often one goes to the tracking store, by way of what waits for it."""

    outbox: BackgroundOutbox
    every_seconds: float
    times: list[float] = field(default_factory=lambda: [time.monotonic()])  # when one was sent

    def save(self, step: int, content: dict[str, Any], *, best_step: int = 0) -> None:
        """Write a checkpoint and, if it is time to, have it stored."""
        super().save(step, content, best_step=best_step)
        if time.monotonic() - self.times[-1] >= self.every_seconds:
            self.share(step)

    def share(self, step: int) -> None:
        """Have the checkpoint of a step stored, and with it that of the best generator."""
        newest = self._path(step)
        best_step = self._describe(newest).get("best_step") or step
        files = [path for path in {newest: None, self._path(best_step): None} if path.exists()]
        descriptions = {path.name: self._describe(path) for path in files}
        if self.outbox.add_checkpoint(CheckpointFiles(step, files, descriptions)):
            self.times.append(time.monotonic())
            self.outbox.flush()


def fetch(store: Store, run: Run, directory: Path) -> None:
    """Copy a run's stored checkpoint into a folder, where there is one and the folder has none that is as new.

    A copy that is not what was stored is left out: the training goes on from what there is.
    """
    stored = stored_checkpoint(run.tags)
    here = max((int(path.stem.removeprefix("step-")) for path in directory.glob("step-*.json")), default=0)
    if stored.step <= here:
        return
    log.info("run %s: fetching the checkpoint of step %s from the tracking store.", run.run_id, f"{stored.step:,}")
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    for name, description in sorted(stored.files.items()):  # the newest last: it makes the others count
        path = store.download(run, f"{FOLDER}/{name}", directory)
        if sha256_of(path) != description.get("sha256"):
            log.warning("run %s: %s of the tracking store is damaged.", run.run_id, name)
            path.unlink()
            continue
        with storage_errors(directory):
            write_json_atomic(path.with_suffix(".json"), description)
