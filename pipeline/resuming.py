"""Which run a training goes on with, if any."""

import socket
import uuid
from pathlib import Path

from gan.errors import UserError
from pipeline.identity import hash_of
from pipeline.run_lock import in_use
from pipeline.sharing.checkpoints import Sharing
from pipeline.tracking import Run, Stage, Store
from pipeline.tracking.handover import OWNER, require_free
from pipeline.workspace import Workspace

PLACE = "checkpoints_at"  # tag: which folder of which machine a run was begun in


def find_earlier(store: Store, fingerprint: str) -> Run | None:
    """Return the run of this fingerprint that got furthest: a finished one, else the newest."""
    runs = store.find({"stage": Stage.TRAIN, "fingerprint": fingerprint})
    finished = [run for run in runs if run.status == "FINISHED"]
    return next(iter(finished or runs[-1:]), None)


def resumable(earlier: Run | None, store: Store, workspace: Workspace, sharing: Sharing | None) -> str | None:
    """Return the run to go on with, or None.

    A run that another machine trained can be gone on with where it was shared. While another process trains it,
    `mlflow run` gets an equal run of its own; a plain command is refused.
    """
    if earlier is None:
        return None
    directory = workspace.checkpoints / earlier.run_id
    shared = sharing is not None and OWNER in earlier.tags
    # killed between the two: its run is there, the folder not yet
    hardly_begun = earlier.tags.get(PLACE) == place_of(workspace.checkpoints) and not earlier.metrics
    if not (shared or hardly_begun or directory.exists()):
        return None
    try:
        with in_use(directory, earlier):
            if sharing is not None and shared:
                require_free(store.client, earlier, sharing.replaces)
            return earlier.run_id
    except UserError:
        if store.project_run is not None:
            return None
        raise


def place_of(checkpoints: Path) -> str:
    """Return a short name of a folder of this machine, to tell it from those of others."""
    return hash_of([socket.gethostname(), uuid.getnode(), str(checkpoints.resolve())])[:12]
