"""An MLflow plugin (group `mlflow.tracking_store`): SQLite stores whose first use is safe among processes.

MLflow creates the tables of a fresh database without a lock: of two `mlflow run` at once, one ends with "expected to
match one row when updating alembic_version" or "duplicate column name". That happens before a project's own command
starts, so only a plugin can prevent it. And a process that is killed while it creates them leaves a database that
nothing can use ("table already exists"): so a fresh one is made beside its place and moved there whole. And MLflow
changes the tables of a store that an earlier version made, without being asked: so such a store is refused.

MLflow loads this module while it is being imported itself: nothing of MLflow may be imported at the top.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

PREFIX = "sqlite:///"
TIMEOUT_SECONDS = 300


@contextmanager
def first_use_lock(uri: str) -> Iterator[None]:
    """Hold the lock file beside a SQLite database; it can be taken again within itself.

    Where no file can be written there is nothing to protect, and other stores have locks of their own: no lock then.
    """
    with ExitStack() as held:
        if uri.startswith(PREFIX):
            lock = FileLock(f"{uri.removeprefix(PREFIX)}.lock", timeout=TIMEOUT_SECONDS, is_singleton=True)
            with suppress(OSError):
                Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(lock)
        yield


def sqlite_store(store_uri: str, artifact_uri: str | None = None, **_: object) -> Any:
    """Return MLflow's own SQLite tracking store, made under the lock, whole or not at all.

    Raises UserError, and leaves the file as it is, where another version of MLflow or another program made it.
    """
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    from pipeline.tracking.schema import check_schema

    with first_use_lock(store_uri):
        path = Path(store_uri.removeprefix(PREFIX))
        if store_uri.startswith(f"{PREFIX}/"):
            if path.exists() and (not path.is_file() or path.stat().st_size):
                check_schema(path)
            else:
                with suppress(OSError):  # where nothing can be written, MLflow says so below
                    _create(path, lambda uri: _get_sqlalchemy_store(uri, artifact_uri))  # type: ignore[no-untyped-call]
        return _get_sqlalchemy_store(store_uri, artifact_uri)  # type: ignore[no-untyped-call]


def _create(path: Path, make_store: Callable[[str], Any]) -> None:
    """Make a database beside its place and move it there; what killed processes left of such is removed."""
    for leftover in path.parent.glob(f".{path.name}.*.new*"):
        leftover.unlink(missing_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        make_store(f"{PREFIX}{fresh}").engine.dispose()
        fresh.replace(path)
    except BaseException:  # a full disk
        for leftover in path.parent.glob(f"{fresh.name}*"):
            leftover.unlink(missing_ok=True)
        raise
