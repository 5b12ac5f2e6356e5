"""Tracking stores that this version of MLflow did not make: one line, and the file stays as it is."""

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import mlflow.db
import pytest
import sqlalchemy
from alembic import command
from click.testing import CliRunner
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base

from gan.errors import UserError
from pipeline.tracking import StoreError, connect, schema
from tests.conftest import environment, run_pipeline

OLDER = "0584bdc529eb"  # of November 2024


def make_older(path: Path) -> None:
    """Make a store as an earlier MLflow did: with the first tables, and the steps up to its own schema."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    config = _get_alembic_config(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, OLDER)
    engine.dispose()


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(statement)


def make_later(path: Path) -> None:
    make_older(path)
    execute(path, "UPDATE alembic_version SET version_num = 'ffffffffffff'")


def make_ancient(path: Path) -> None:
    """Before MLflow 1.0 a store did not say which schema it has."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    engine.dispose()


UPGRADE = (
    r"Make a copy of it, then run `mlflow db upgrade sqlite:////.*/mlflow.db`, or set MLFLOW_TRACKING_URI to another"
)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            make_older,
            rf"was made by an earlier MLflow of about 2024-11 \(schema {OLDER}\) than this one \(.*\). {UPGRADE}",
        ),
        (make_ancient, rf"was made by an earlier MLflow \(schema none\) than this one .*{UPGRADE}"),
        (
            make_later,
            r"was made by a later MLflow than this one \(3\..*\(ffffffffffff\)\. Use the version that made it, or",
        ),
        (lambda path: execute(path, "CREATE TABLE bookmarks (url)"), "is a database of another program"),
        (
            lambda path: path.write_text("no database " * 100),
            "cannot be used as a tracking store: file is not a database",
        ),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(84)), "cannot be used as a tracking store"),
        (lambda path: path.mkdir(), "cannot be used as a tracking store: unable to open database file"),
    ],
)
def test_it_is_refused_and_stays_as_it_is(
    make: Callable[[Path], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mlflow.db"
    make(path)
    before = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    with pytest.raises(UserError, match=rf"^{path}: {words}") as refused:
        connect()
    assert "MLFLOW_TRACKING_URI" in str(refused.value)
    assert (hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"") == before
    assert {each.name for each in tmp_path.iterdir()} <= {"mlflow.db", "mlflow.db.lock"}


def test_the_remedy_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlflow.db"
    make_older(path)
    refused = run_pipeline("report", cwd=tmp_path, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"Error: {path}: was made by an earlier MLflow")
    assert len(refused.stderr.splitlines()) == 1
    CliRunner().invoke(mlflow.db.commands, ["upgrade", f"sqlite:///{path}"], catch_exceptions=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    assert connect().find({}) == []


def test_mlflow_s_own_commands_do_not_change_it_either(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    make_older(path)
    before = path.read_bytes()
    search = [sys.executable, "-m", "mlflow", "experiments", "search"]
    variables = environment() | {"MLFLOW_TRACKING_URI": f"sqlite:///{path}"}
    done = subprocess.run(search, check=False, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode != 0
    assert "was made by an earlier MLflow" in done.stderr
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlflow.db"
    path.touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    assert connect().find({}) == []


def test_a_locked_one_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.1)
    make_older(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"cannot be used as a tracking store: database is locked\."):
            connect()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_one_that_cannot_be_written_can_be_read_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    store = connect()
    path.chmod(0o444)
    assert connect().find({}) == []
    with pytest.raises(StoreError, match="readonly"), store.open_run(name="x", tags={}):
        pass
