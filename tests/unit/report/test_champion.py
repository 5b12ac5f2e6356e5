"""Which run is registered as the best one of its dataset."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.reporting.champion import Champion, champions
from pipeline.reporting.labels import label
from pipeline.reporting.results import Configuration, Measured, Results, Training
from pipeline.reporting.tables import Table, build_tables
from tests.unit.report.made import run


def protocol(dataset: str = "faces", num_samples: int = 100) -> dict[str, Any]:
    return {"dataset": dataset, "dataset_digest": dataset, "num_samples": num_samples, "extractor": "X"}


def under(content: dict[str, Any], *flags: str, **metrics: float) -> Measured:
    """Return a result; the protocol's hash is made of its dataset, its number of samples and the metrics' names."""
    key = f"{content['dataset']}-{content['num_samples']}-{'-'.join(metrics)}"
    return Measured(key, content, 100, metrics, flags=flags)


def training(variant: str, seed: int, *results: Measured, status: str = "FINISHED", health: str = "") -> Training:
    dataset: str = results[0].protocol["dataset"] if results else "faces"
    tags = {"seed": str(seed), "health": health, "dataset": dataset, "dataset_digest": dataset}
    return Training(run(f"{variant}-s{seed}", status, 0, **tags), {each.protocol_hash: each for each in results})


def row(variant: str, *distances: float, metric: str = "fid") -> Configuration:
    """Return healthy trainings of one variant with the seeds 0, 1, ..."""
    trainings = [training(variant, seed, under(protocol(), **{metric: value})) for seed, value in enumerate(distances)]
    return of(variant, *trainings)


def of(variant: str, *trainings: Training) -> Configuration:
    return Configuration(variant, f"hash-{variant}", trainings)


def tables(*rows: Configuration) -> tuple[Table, ...]:
    return build_tables(Results(rows, {}, ()), label(rows))


def best(*rows: Configuration) -> Champion:
    (found,) = champions(tables(*rows))
    return found


def ids(found: Sequence[Champion]) -> list[str]:
    return [each.training.run.run_id for each in found]


def test_it_is_the_lowest_run_of_the_row_with_the_lowest_mean() -> None:
    found = best(row("luck", 1.0, 41.0), row("steady", 21.0, 19.0, 20.0), row("worse", 30.0))
    assert found.training.run.run_id == "steady-s1"
    assert (found.label, found.metric, found.value) == ("steady", "fid", 19.0)
    assert (found.dataset, found.protocol_hash) == ("faces", "faces-100-fid")


LOW = under(protocol(), fid=1.0)


@pytest.mark.parametrize(
    "other",
    [
        training("low", 1, status="FAILED", health="diverged"),
        training("low", 1, status="KILLED"),
        training("low", 1, status="RUNNING"),
        training("low", 1),  # not evaluated
        training("low", 1, LOW, health="low diversity"),
        training("low", 1, under(protocol(), "collapsed", fid=1.0)),
        training("low", 1, under(protocol(), fid=math.nan)),
        training("low", 1, under(protocol(), fid=math.inf)),
    ],
)
def test_a_row_with_one_run_that_is_not_healthy_is_never_it(other: Training) -> None:
    unhealthy = of("low", training("low", 0, LOW), other)
    assert ids(champions(tables(unhealthy, row("healthy", 50.0, 52.0)))) == ["healthy-s0"]
    assert champions(tables(unhealthy)) == []
    assert ids(champions(tables(of("low", training("low", 0, LOW), training("low", 1, LOW))))) == ["low-s0"]


def test_rows_that_may_be_as_good_are_named() -> None:
    spread = math.sqrt(2.0)  # of two values that differ by 2
    apart = 11.0 + 2 * spread
    found = best(
        row("best", 10.0, 12.0),
        row("touches", apart - 1.001, apart + 0.999),
        row("apart", apart - 0.999, apart + 1.001),
        row("one_seed", 99.0),
        row("broken", 11.0, math.nan),
        of("collapsed", *(training("collapsed", s, under(protocol(), "collapsed", fid=11.5 + s)) for s in range(2))),
        of("never", training("never", 0, status="FAILED")),
    )
    assert found.label == "best"
    assert sorted(found.ties) == ["collapsed", "touches"]
    assert found.unknown == ["one_seed"]


def test_a_best_row_of_one_seed_leaves_all_others_unknown() -> None:
    found = best(row("best", 10.0), row("close", 10.5, 11.5), row("far", 99.0, 100.0))
    assert (found.ties, sorted(found.unknown)) == ([], ["close", "far"])


def both(variant: str, **results: Measured) -> Configuration:
    return of(variant, training(variant, 0, *results.values()))


def test_fid_comes_before_other_feature_spaces_and_then_more_samples() -> None:
    few, many = protocol(num_samples=50), protocol(num_samples=9000)  # as texts, "50" is the larger one
    a = both("a", few=under(few, fid=1.0), many=under(many, fd_x=9.0), own=under(few, fd_x=9.0))
    b = both("b", few=under(few, fid=2.0), many=under(many, fd_x=1.0), own=under(few, fd_x=1.0))
    assert len(tables(a, b)) == 3
    for given in (tables(a, b), tables(a, b)[::-1]):
        (found,) = champions(given)
        assert (found.label, found.metric, found.protocol_hash) == ("a", "fid", "faces-50-fid")

    c = both("c", few=under(few, fid=1.0), many=under(many, fid=2.0))
    d = both("d", few=under(few, fid=2.0), many=under(many, fid=1.0))
    for given in (tables(c, d), tables(c, d)[::-1]):
        assert [(each.label, each.protocol_hash) for each in champions(given)] == [("d", "faces-9000-fid")]


def test_a_preferred_protocol_without_a_healthy_row_leaves_it_to_the_next() -> None:
    sick = of("sick", training("sick", 0, under(protocol(), "collapsed", fid=1.0)))
    found = best(sick, row("well", 5.0, metric="fd_x"))
    assert (found.label, found.metric) == ("well", "fd_x")


def test_each_dataset_has_its_own() -> None:
    cats = protocol("cats")
    other = of("b", training("b", 0, under(cats, fid=90.0)), training("b", 1, under(cats, fid=80.0)))
    found = champions(tables(row("a", 10.0, 12.0), other))
    assert {each.dataset: each.training.run.run_id for each in found} == {"faces": "a-s0", "cats": "b-s1"}
    assert [(list(each.ties), list(each.unknown)) for each in found] == [([], []), ([], [])]


def test_without_numbers_there_is_none() -> None:
    assert champions([]) == []
    assert champions(tables(of("a", training("a", 0)))) == []
    assert champions(tables(of("a", training("a", 0, under(protocol(), fid=math.nan))))) == []
    assert champions(tables(of("a", training("a", 0, under(protocol(), precision_x=0.5))))) == []


@pytest.mark.parametrize("numbers", [{"fid": math.nan, "best_fid": 1.0}, {"best_fid": 1.0}, {"kid": 0.001}])
def test_only_the_distance_of_the_last_generator_decides(numbers: dict[str, float]) -> None:
    """The last generator is what is registered: another number must not stand for it."""
    assert champions(tables(of("a", training("a", 0, under(protocol(), **numbers))))) == []
