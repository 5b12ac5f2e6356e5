"""Numbers of one set of samples on disk: the same bits again, and a damaged file is as if it were not there."""

import logging
import math
from pathlib import Path

import pytest

from pipeline.kept import Kept, Measured
from pipeline.metrics.distances import Estimate

MEASURED = Measured({"fd": Estimate(0.1 + 0.2, 1e-300), "is": Estimate(1 / 3, None)}, ["collapsed"])


def test_what_was_written_is_read_bit_for_bit(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "measured")
    assert kept.read(1000) is None
    kept.write(1000, MEASURED)
    assert kept.read(1000) == MEASURED
    assert kept.read(1001) is None


def test_numbers_that_are_not_finite_survive(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.write(0, Measured({"fd": Estimate(math.inf, math.nan)}, []))
    found = kept.read(0)
    assert found is not None
    assert found.estimates["fd"].value == math.inf
    assert math.isnan(found.estimates["fd"].error or 0.0)


DAMAGED = {
    "empty": b"",
    "truncated": b"{",
    "a list": b"[]",
    "other fields": b'{"estimates": {"fd": 1}, "flags": []}',
    "no text": b"\xff\xfe",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_a_warning(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "7.json").write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert Kept(tmp_path).read(7) is None
    assert "measuring again" in caplog.text


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    kept = Kept(tmp_path / "file" / "measured")
    with caplog.at_level(logging.WARNING):
        kept.write(0, MEASURED)
    assert "after a stop it is measured again" in caplog.text


def test_forgotten_is_gone(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "measured")
    kept.write(0, MEASURED)
    kept.forget()
    kept.forget()
    assert kept.read(0) is None
    assert list(tmp_path.iterdir()) == []
