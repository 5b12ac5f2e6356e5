"""A suite that is killed ends with the table of one that was left alone; benchmarks/kills.py kills it 50 times."""

from pathlib import Path

import pytest

from benchmarks.kills import KILLS_OF_STAGE, kill_suite, planned


@pytest.mark.slow
def test_a_suite_that_was_killed_six_times_ends_like_one_that_was_left_alone(tmp_path: Path) -> None:
    outcome = kill_suite(tmp_path, num_kills=6, seed=1)
    assert list(outcome.differences) == []
    assert len(outcome.kills) == 6
    assert len({kill.stage for kill in outcome.kills}) >= 3


def test_kills_are_spread_over_all_stages() -> None:
    assert {stage for stage, _ in planned(6)} == {"prepare", "floor", "train", "publish", "evaluate", "report"}
    assert {stage: sum(aim[0] == stage for aim in planned(50)) for stage in KILLS_OF_STAGE} == KILLS_OF_STAGE
