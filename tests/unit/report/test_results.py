import json
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from gan.errors import UserError
from pipeline.reporting.reading import read_results
from pipeline.reporting.results import Results
from pipeline.tracking import CONFIG, Run
from tests.unit.report.made import honest, run


@dataclass
class _Store:
    """What the report asks of a store."""

    runs: list[Run]
    uri: str = "sqlite:////x.db"

    def find(self, tags: Mapping[str, str]) -> list[Run]:
        return [one for one in self.runs if tags.items() <= dict(one.tags).items()]

    def get(self, run_id: str) -> Run:
        return next(one for one in self.runs if one.run_id == run_id)


def read(*runs: Run) -> Results:
    return read_results(_Store(list(runs)))  # type: ignore[arg-type]


def train(run_id: str, status: str = "FINISHED", start_time: int = 0, **tags: str) -> Run:
    return run(run_id, status, start_time, **(honest("a") | tags))


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


def test_one_hash_is_one_row_by_seed() -> None:
    first = run("x", "FINISHED", 0, **honest("a", seed="10"), fingerprint="1")
    second = run("y", "FINISHED", 0, **honest("a", seed="9"), fingerprint="2")
    other = run("z", "FINISHED", 0, **honest("a", seed="9", lr=2), fingerprint="3")
    rows = read(first, second, other).configurations
    assert sorted([training.seed for training in each.trainings] for each in rows) == [["9"], ["9", "10"]]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"variant": "b"}, "it is called b, its configuration a."),
        ({"config_hash": "0" * 32}, "its configuration does not have the hash that its label stands for."),
        ({CONFIG: json.dumps({"variant": "a", "title": "a", "lr": 2})}, "does not have the hash"),
        ({"code_hash": "e" * 64}, "does not have the hash"),
        ({"dataset_digest": "other"}, "does not have the hash"),
        ({CONFIG: "{"}, "its tag mlflow.gan.config is not a configuration."),
        ({CONFIG: "[]"}, "its tag mlflow.gan.config is not a configuration."),
        ({CONFIG: "[" * 100_000}, "its tag mlflow.gan.config is not a configuration."),
        ({CONFIG: "7"}, "its tag mlflow.gan.config is not a configuration."),
    ],
)
def test_a_run_whose_label_is_not_that_of_its_configuration_is_refused(tags: dict[str, str], reason: str) -> None:
    found = read(train("0"), train("1", "FINISHED", 0, **tags))
    assert [training.run.run_id for each in found.configurations for training in each.trainings] == ["0"]
    ((refused, why),) = found.refused
    assert refused.run_id == "1"
    assert reason in why


@pytest.mark.parametrize("missing", [CONFIG, "code_hash"])
def test_a_run_of_an_older_version_is_refused(missing: str) -> None:
    tags = {key: value for key, value in honest("a").items() if key != missing}
    ((_, why),) = read(run("0", "FINISHED", 0, **tags)).refused
    assert "older version" in why


def test_a_refused_run_that_was_asked_for_is_an_error() -> None:
    store = _Store([train("0"), train("1", variant="b")])
    with pytest.raises(UserError, match=r"--run: 1 \(run-1\): it is called b, its configuration a. Train it again."):
        read_results(store, ["0", "1"])  # type: ignore[arg-type]


def test_only_finished_runs_have_numbers() -> None:
    result = '{"protocol_hash": "p", "protocol": {}, "num_measured": 2, "metrics": {"fid": 1}}'
    configurations = read(train("0", "RUNNING", 0, **{"mlflow.gan.evaluation.x.p": result})).configurations
    assert configurations[0].trainings[0].measured == {}


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"protocol_hash": "p", "protocol": 1}', "[" * 100_000])
def test_a_run_with_a_damaged_result_is_refused_and_the_others_are_read(text: str) -> None:
    found = read(train("0", "FINISHED", 0, **{"mlflow.gan.evaluation.x.p": text}), train("1", seed="1"))
    assert [training.run.run_id for each in found.configurations for training in each.trainings] == ["1"]
    ((refused, why),) = found.refused
    assert refused.run_id == "0"
    assert "its tag mlflow.gan.evaluation.x.p is not a result of `pipeline evaluate`" in why
