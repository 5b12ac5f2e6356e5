"""Checkpoints: whole or not there, of this run or refused."""

import logging
from pathlib import Path

import pytest
import torch

from gan.checkpoints import Checkpoints
from gan.errors import UserError


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    found = Checkpoints(tmp_path, "abc")
    for step in (1, 2, 3):
        found.save(step, {"step": step, "weights": torch.full((100,), float(step))})
    return found


def test_the_newest_is_loaded_and_the_last_two_are_kept(checkpoints: Checkpoints) -> None:
    content = checkpoints.load_latest()
    assert content is not None
    assert content["step"] == 3
    assert torch.equal(content["weights"], torch.full((100,), 3.0))
    names = sorted(path.name for path in checkpoints.directory.iterdir())
    assert names == [f"step-00000000{step}.{suffix}" for step in (2, 3) for suffix in ("json", "pt")]


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "garble the description"])
def test_a_damaged_one_is_skipped_with_a_warning(
    checkpoints: Checkpoints, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = checkpoints.directory / "step-000000003.pt"
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[:-10])
    elif damage == "flip":
        path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    elif damage == "remove":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{")
    with caplog.at_level(logging.WARNING):
        found = checkpoints.load_latest()
    assert found is not None
    assert found["step"] == 2
    assert "step-000000003.pt is damaged" in caplog.text


def test_those_of_another_run_or_format_are_refused(checkpoints: Checkpoints) -> None:
    with pytest.raises(UserError, match="belongs to another configuration"):
        Checkpoints(checkpoints.directory, "other").load_latest()
    description = checkpoints.directory / "step-000000003.json"
    description.write_text(description.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match="format must be 1, got 2"):
        checkpoints.load_latest()


def test_none_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "missing", "abc").load_latest() is None


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        Checkpoints(tmp_path / "file" / "folder", "abc").save(1, {"step": 1})
