"""Which version of MLflow made a SQLite store.

Asked before MLflow opens it: where a table is missing, MLflow changes the whole schema at once and without a copy, and
the version that made the store can no longer read it.
"""

import re
import sqlite3
from contextlib import closing
from functools import cache
from importlib.metadata import version
from pathlib import Path

from alembic.script import ScriptDirectory
from mlflow.store import db_migrations

from gan.errors import UserError

BUSY_SECONDS = 20.0  # as long as MLflow waits
REMEDY = "set MLFLOW_TRACKING_URI to another store"


def check_schema(path: Path) -> None:
    """Raise UserError for a file that this version of MLflow cannot use as it is. An empty one is for it to fill."""
    tables, revisions = _read(path)
    if not tables:
        return
    if "experiments" not in tables:
        raise UserError(f"{path}: is a database of another program, no tracking store. Move it, or {REMEDY}.")
    (head,) = _scripts().get_heads()
    if revisions == [head]:
        return
    found, ours = ", ".join(revisions) or "none", version("mlflow")
    made = _made(revisions)
    if made is None:
        raise UserError(
            f"{path}: was made by a later MLflow than this one ({ours}), which does not know its schema ({found}). "
            f"Use the version that made it, or {REMEDY}."
        )
    raise UserError(
        f"{path}: was made by an earlier MLflow{made} (schema {found}) than this one ({ours}). Make a copy of it, "
        f"then run `mlflow db upgrade sqlite:///{path}`, or {REMEDY}."
    )


def _read(path: Path) -> tuple[set[str], list[str]]:
    """Return the names of a database's tables and the revision of its schema. Nothing is written."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", BUSY_SECONDS, uri=True)) as database:
            tables = {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            known = "alembic_version" in tables
            rows = database.execute("SELECT version_num FROM alembic_version").fetchall() if known else []
            return tables, sorted(str(revision) for (revision,) in rows)
    except sqlite3.Error as error:
        raise UserError(f"{path}: cannot be used as a tracking store: {error}. Correct that, or {REMEDY}.") from error


@cache
def _scripts() -> ScriptDirectory:
    """Return MLflow's own steps from each schema to the next."""
    return ScriptDirectory(str(Path(db_migrations.__file__).parent))


def _made(revisions: list[str]) -> str | None:
    """Return about when a schema was the newest, in words; None for one that this version does not know.

    That is the date of the latest step on the way to it: some steps bear a date that is too early.
    """
    if not revisions:
        return ""
    if revisions[0] not in {step.revision for step in _scripts().walk_revisions()}:
        return None
    steps = _scripts().iterate_revisions(revisions[0], "base")
    dates = [found.group(1) for step in steps if (found := re.search(r"Create Date: (\d{4}-\d\d)", step.longdoc))]
    return f" of about {max(dates)}" if dates else ""
