"""What lets another machine go on with a training: its last checkpoint, and who trains it now."""

import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from mlflow import MlflowClient
from mlflow.entities import RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from gan.errors import UserError
from pipeline.tracking.failures import StoreError, impatient, shown, store_errors
from pipeline.tracking.runs import Run, RunWriter

CHECKPOINT = "mlflow.gan.checkpoint"  # tag: JSON: step of the checkpoint that is stored, and the files it consists of
OWNER = "mlflow.gan.owner"  # tag: JSON: who trains the run
FREE = "{}"  # its value while nobody does
FOLDER = "checkpoints"  # of the artifacts
BEAT_SECONDS = 15.0  # from one sign of life to the next
DEAD_SECONDS = 60.0  # without one: nobody trains the run any more

log = logging.getLogger(__name__)


def store_checkpoint(
    writer: RunWriter, step: int, files: Sequence[Path], descriptions: Mapping[str, Mapping[str, Any]]
) -> None:
    """Store the files of a checkpoint, then say so in a tag, then remove those of the one before.

    descriptions: by name of a file what the JSON beside it says. Whenever this is killed, the tag names files that are
    whole. Raises what the store raises.
    """
    client, run_id = writer.client, writer.run_id
    run = client.get_run(run_id)
    earlier = stored_checkpoint(run.data.tags).files
    for file in files:
        if earlier.get(file.name) != descriptions[file.name]:
            client.log_artifact(run_id, str(file), FOLDER)
    content = json.dumps({"step": step, "files": descriptions}, sort_keys=True)
    client.log_batch(run_id, tags=[RunTag(CHECKPOINT, content)])
    _remove(run.info.artifact_uri, [f"{FOLDER}/{name}" for name in set(earlier) - set(descriptions)])


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint in the tracking store. step: 0 where there is none. files: name -> its description."""

    step: int = 0
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def stored_checkpoint(tags: Mapping[str, str]) -> StoredCheckpoint:
    """Return what a run's tags say of its checkpoint; nothing where they cannot be read."""
    try:
        content = json.loads(tags[CHECKPOINT])
        files = {str(name): dict(each) for name, each in content["files"].items()}
        if any(Path(name).name != name or not name.endswith(".pt") for name in files):  # names of files to be written
            return StoredCheckpoint()
        return StoredCheckpoint(int(content["step"]), files)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return StoredCheckpoint()


def forget_checkpoint(writer: RunWriter) -> None:
    """Remove the checkpoint of a training that is finished; what the store keeps all the same does no harm."""
    with store_errors(writer.address):
        run = writer.client.get_run(writer.run_id)
        if CHECKPOINT in run.data.tags:
            writer.client.delete_tag(writer.run_id, CHECKPOINT)
            names = stored_checkpoint(run.data.tags).files
            _remove(run.info.artifact_uri, [f"{FOLDER}/{name}" for name in names])


def _remove(artifact_uri: str, paths: Collection[str]) -> None:
    """Remove artifacts; some stores cannot, or do not allow it."""
    repository = get_artifact_repository(artifact_uri)
    for path in paths:
        try:
            repository.delete_artifacts(path)  # type: ignore[no-untyped-call]
        except (*StoreError, OSError, NotImplementedError, ValueError) as error:
            log.debug("%s/%s stays: %s", artifact_uri, path, error)


def new_token() -> str:
    """Return the name of an attempt to train a run."""
    return secrets.token_hex(8)


class Lease:
    """Who trains a run, in a tag of it, with signs of life: one process at a time, on whatever machine."""

    def __init__(self, client: MlflowClient, run_id: str, token: str) -> None:
        self.client, self.run_id, self.token = client, run_id, token
        self._known = time.monotonic()  # when it was last seen to be ours
        self._other = ""  # who has it now, in words

    def require(self) -> None:
        """Raise UserError where somebody else has taken the run; after a while without an answer it is asked again."""
        if not self._other and time.monotonic() - self._known > DEAD_SECONDS / 2:
            self._beat()
        if self._other:
            raise UserError(
                f"run {self.run_id} was taken over by {self._other}, while this one could not reach the tracking "
                "store. Nothing is to be done: it is trained there."
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Give signs of life, in a thread, until the block ends; then the run is free."""
        leave = threading.Event()

        def live() -> None:
            while not leave.wait(BEAT_SECONDS):
                with suppress(*StoreError, OSError):  # the outbox says it
                    self._beat()

        thread = threading.Thread(target=live, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            leave.set()
            thread.join()
            with suppress(*StoreError, OSError), impatient():
                if _owner(self.client.get_run(self.run_id).data.tags).get("token") == self.token:
                    self.client.log_batch(self.run_id, tags=[RunTag(OWNER, FREE)])

    def _beat(self) -> None:
        with impatient():
            owner = _owner(self.client.get_run(self.run_id).data.tags)
            if owner.get("token", self.token) != self.token:
                self._other = _described(owner)
                return
            self.client.log_batch(self.run_id, tags=[RunTag(OWNER, owned(self.token))])
        self._known = time.monotonic()


def owned(token: str) -> str:
    """Return the tag OWNER of a run that this process trains, with the time as its sign of life."""
    process = psutil.Process()
    return json.dumps(
        {
            "token": token,
            "process": process.pid,
            "host": socket.gethostname(),
            "processes": _processes(),
            "since": datetime.fromtimestamp(process.create_time()).astimezone().isoformat(timespec="seconds"),
            "beat": time.time(),
        }
    )


def require_free(client: MlflowClient, run: Run, replaces: Collection[str]) -> None:
    """Raise UserError where a process somewhere trains a run; it is watched for DEAD_SECONDS at most.

    replaces: tokens of attempts that are known to be dead.
    """
    owner = _owner(run.tags)
    if not owner or owner.get("token") in replaces or _is_dead_here(owner):
        return
    deadline = time.monotonic() + DEAD_SECONDS
    log.info("run %s was last trained by %s: waiting for a sign of life.", run.run_id, _described(owner))
    while time.monotonic() < deadline:
        time.sleep(2)
        with store_errors(shown(client.tracking_uri)):
            now = _owner(client.get_run(run.run_id).data.tags)
        if not now:
            return
        if now != owner:
            raise UserError(
                f"run {run.run_id} ({run.name}) is being trained by another process, {_described(now)}. "
                "Wait for it or stop it first."
            )


def _is_dead_here(owner: Mapping[str, Any]) -> bool:
    """Tell whether an owner was a process of this machine, and of this container, that has ended."""
    here = owner.get("host") == socket.gethostname() and owner.get("processes") == _processes()
    return here and not psutil.pid_exists(int(owner.get("process") or 0))


def _processes() -> str:
    """Return which numbering of processes this one has: containers of one host may have its name and their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        return ""


def _owner(tags: Mapping[str, str]) -> dict[str, Any]:
    try:
        owner = json.loads(tags[OWNER])
    except (KeyError, ValueError, RecursionError):
        return {}
    return owner if isinstance(owner, dict) and isinstance(owner.get("process", 0), int) else {}


def _described(owner: Mapping[str, Any]) -> str:
    return f"{owner.get('process')} on {owner.get('host')} since {owner.get('since')}"
