from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from gan.errors import UserError
from pipeline.reporting import results
from pipeline.reporting.results import read_results
from pipeline.tracking import Run, Stage
from tests.unit.report.made import run


@dataclass
class _Store:
    """What the report asks of a store."""

    runs: list[Run]
    uri: str = "sqlite:////x.db"

    def find(self, tags: Mapping[str, str]) -> list[Run]:
        return [one for one in self.runs if tags.items() <= dict(one.tags).items()]


def read(*runs: Run) -> results.Results:
    return read_results(_Store(list(runs)))  # type: ignore[arg-type]


def train(run_id: str, status: str = "FINISHED", start_time: int = 0, **tags: str) -> Run:
    return run(run_id, status, start_time, stage=Stage.TRAIN, variant="a", seed="0", **tags)


@pytest.mark.parametrize(
    ("statuses", "kept"),
    [
        (["FINISHED", "FINISHED"], 0),
        (["FAILED", "FINISHED", "FINISHED"], 1),
        (["FINISHED", "RUNNING"], 0),
        (["KILLED", "FAILED", "RUNNING"], 2),
    ],
)
def test_of_one_fingerprint_the_oldest_finished_run_counts(statuses: list[str], kept: int) -> None:
    runs = [train(str(n), status, start_time=n, fingerprint="f") for n, status in enumerate(statuses)]
    read_back = read(*reversed(runs))
    ((training,),) = [each.trainings for each in read_back.configurations]
    assert training.run.run_id == str(kept)
    others = [str(n) for n in range(len(statuses)) if n != kept]
    assert [(one.run_id, counted) for one, counted in read_back.duplicates] == [(n, str(kept)) for n in others]


def test_a_diverged_run_outlives_a_later_attempt() -> None:
    runs = [train("0", "FAILED", 0, fingerprint="f", health="diverged"), train("1", "KILLED", 1, fingerprint="f")]
    assert read(*runs).configurations[0].trainings[0].state == "diverged"


def test_runs_without_hash_never_share_a_row() -> None:
    assert len(read(train("0", fingerprint="f"), train("1", fingerprint="g"), train("2")).configurations) == 3


def test_one_hash_is_one_row_by_seed() -> None:
    first = run("x", stage=Stage.TRAIN, variant="a", seed="10", config_hash="h", fingerprint="1")
    second = run("y", stage=Stage.TRAIN, variant="a", seed="9", config_hash="h", fingerprint="2")
    (one,) = read(first, second).configurations
    assert [training.seed for training in one.trainings] == ["9", "10"]


def test_only_finished_runs_have_numbers() -> None:
    result = '{"protocol_hash": "p", "protocol": {}, "num_measured": 2, "metrics": {"fid": 1}}'
    configurations = read(train("0", "RUNNING", 0, **{"evaluation.x.p": result})).configurations
    assert configurations[0].trainings[0].measured == {}


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"protocol_hash": "p", "protocol": 1}'])
def test_a_broken_result_names_run_and_tag(text: str) -> None:
    with pytest.raises(UserError, match=r"run 0 \(run-0\): its tag evaluation.x.p is not a result"):
        read(train("0", "FINISHED", 0, **{"evaluation.x.p": text}))
