"""Atomic writing: the old file or the new one, and nothing beside it."""

import errno
import json
import stat
from pathlib import Path

import pytest

from gan.errors import UserError
from gan.files import storage_errors, write_atomic, write_json_atomic, write_text_atomic


def test_writes_and_replaces(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "old")
    write_text_atomic(tmp_path / "a.txt", "new ä")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new ä"
    write_json_atomic(tmp_path / "a.json", {"b": [1, None]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, None]}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.txt"]


def test_has_the_permissions_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "ordinary").touch()
    write_text_atomic(tmp_path / "atomic", "x")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a.txt", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_json_has_no_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomic(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "No space left on device; free some space and run"), (errno.EACCES, "Permission denied; allow")],
)
def test_storage_error_names_path_reason_and_remedy(code: int, remedy: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=remedy) as error, storage_errors(tmp_path / "x"):
        raise OSError(code, "text of the system")
    assert str(tmp_path / "x") in str(error.value)


def test_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Not a directory"), storage_errors(tmp_path / "file/a.txt"):
        write_text_atomic(tmp_path / "file/a.txt", "x")
