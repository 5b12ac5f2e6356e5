"""Checkpoints: whole or not there, of this run or refused."""

import json
import logging
from pathlib import Path

import pytest
import torch

from gan.checkpoints import Checkpoints
from gan.errors import UserError
from gan.files import sha256_of


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
    description.write_text(description.read_text().replace('"format": 2', '"format": 1'))
    with pytest.raises(UserError, match="format must be 2, got 1"):
        checkpoints.load_latest()


def test_the_best_one_is_kept_beside_the_last_two(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "abc")
    for step, best_step in [(1, 0), (2, 2), (3, 2), (4, 2), (5, 2)]:
        checkpoints.save(step, {"step": step}, best_step=best_step)
    assert sorted(path.stem[-1] for path in tmp_path.glob("*.pt")) == ["2", "4", "5"]
    assert checkpoints.load(2) == {"step": 2}
    for step, best_step in [(6, 6), (7, 6), (8, 6)]:
        checkpoints.save(step, {"step": step}, best_step=best_step)
    assert sorted(path.stem[-1] for path in tmp_path.glob("*.json")) == ["6", "7", "8"]
    assert checkpoints.load(2) is None


def test_going_on_from_the_one_before_a_damaged_one_leaves_two_whole_ones(checkpoints: Checkpoints) -> None:
    (checkpoints.directory / "step-000000003.pt").write_bytes(b"damaged")
    assert checkpoints.load_latest() is not None
    for step in (3, 4):
        checkpoints.save(step, {"step": step})
    (checkpoints.directory / "step-000000004.pt").write_bytes(b"damaged")
    assert checkpoints.load_latest() == {"step": 3}
    checkpoints.save(2, {"step": 2})  # from an even earlier one
    assert sorted(path.stem[-1] for path in checkpoints.directory.glob("*.pt")) == ["2"]


def test_what_a_killed_process_left_is_removed(checkpoints: Checkpoints) -> None:
    for name in (".step-000000004.0123456789abcdef.pt", ".step-000000004.0123456789abcdef.json", "step-000000004.pt"):
        (checkpoints.directory / name).write_bytes(b"half a checkpoint")
    checkpoints.remove_leftovers()
    assert sorted(path.stem[-1] for path in checkpoints.directory.iterdir()) == ["2", "2", "3", "3"]


def test_nothing_that_was_pickled_is_run(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """A checkpoint with a valid checksum whose content would write a file when it is unpickled."""
    target = tmp_path / "written"

    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (target.write_text, ("harm",))

    path = checkpoints.directory / "step-000000003.pt"
    torch.save({"step": Payload()}, path)
    description = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(description | {"sha256": sha256_of(path)}))
    with pytest.raises(UserError, match=r"step-000000003\.pt: .*Delete"):
        checkpoints.load_latest()
    assert not target.exists()


def test_none_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "missing", "abc").load_latest() is None


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        Checkpoints(tmp_path / "file" / "folder", "abc").save(1, {"step": 1})
