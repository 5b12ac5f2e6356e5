"""An MLflow plugin (group `mlflow.tracking_store`): SQLite stores whose first use is safe among processes.

MLflow creates the tables of a fresh database without a lock: of two `mlflow run` at once, one ends with "expected to
match one row when updating alembic_version" or "duplicate column name". That happens before a project's own command
starts, so only a plugin can prevent it. MLflow loads this module while it is being imported itself: nothing of MLflow
may be imported at the top.
"""

from collections.abc import Iterator
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
    """Return MLflow's own SQLite tracking store, made under the lock."""
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    with first_use_lock(store_uri):
        return _get_sqlalchemy_store(store_uri, artifact_uri)  # type: ignore[no-untyped-call]
