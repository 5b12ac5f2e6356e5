"""In what two protocols differ, in words, and which rows may not stand in one table."""

from typing import Any

import pytest

from gan.errors import UserError
from pipeline.reporting.candidates import Selector, Wording
from pipeline.reporting.claims import Claim
from pipeline.reporting.labels import label
from pipeline.reporting.model import Report, differences, in_words, require_one_table
from pipeline.reporting.results import Configuration, Measured, Results, Training
from pipeline.reporting.rules import Level
from pipeline.reporting.tables import Table, build_tables
from tests.unit.report.made import PROTOCOL, run

FIRST = {"num_samples": 100, "crop": {"size": 64, "filter": {"name": "box", "width": 2}}, "same": [1, 2], "old": 0}
SECOND = {"new": True, "crop": {"filter": {"width": 3.5, "name": "box"}, "size": 32}, "same": [1, 2], "num_samples": 50}


def test_differences_are_by_dotted_name_in_the_order_of_the_first() -> None:
    assert differences(FIRST, SECOND) == [
        ("num_samples", "100", "50"),
        ("crop.size", "64", "32"),
        ("crop.filter.width", "2", "3.5"),
        ("old", "0", ""),
        ("new", "", "true"),
    ]
    assert sorted(differences(SECOND, FIRST)) == sorted((name, b, a) for name, a, b in differences(FIRST, SECOND))


def test_equal_protocols_do_not_differ() -> None:
    assert differences(FIRST, dict(reversed(FIRST.items()))) == []
    assert in_words([]) == ""


def test_values_are_compared_as_they_are_written() -> None:
    assert differences({"a": None, "b": [1, "x"]}, {"a": False, "b": [1, "y"]}) == [
        ("a", "null", "false"),
        ("b", '[1, "x"]', '[1, "y"]'),
    ]
    assert differences({"a": {"x": 1, "y": 2}}, {"a": 1}) == [("a.x", "1", ""), ("a.y", "2", ""), ("a", "", "1")]


def test_in_words() -> None:
    assert in_words(differences(FIRST, SECOND)) == (
        "num_samples 100 vs 50; crop.size 64 vs 32; crop.filter.width 2 vs 3.5; old 0 vs none; new none vs true"
    )


def measured_under(variant: str, **protocols: dict[str, Any]) -> Configuration:
    """Return a training with a number under each protocol, by hash."""
    results = {key: Measured(key, PROTOCOL | changes, 100, {"fid": 1.0}) for key, changes in protocols.items()}
    return Configuration(variant, f"hash-{variant}", [Training(run(variant, seed="0"), results)])


def tables(*rows: Configuration) -> tuple[Table, ...]:
    return build_tables(Results(rows, {}, ()), label(rows))


def refusal(*rows: Configuration) -> str:
    with pytest.raises(UserError) as caught:
        require_one_table(tables(*rows))
    return str(caught.value)


def test_rows_of_one_protocol_may_stand_in_one_table() -> None:
    require_one_table(tables(measured_under("a", p={}), measured_under("b", p={})))
    require_one_table(tables(measured_under("a")))
    require_one_table(())  # every training was refused


def test_rows_of_several_protocols_may_not_and_the_fields_are_named() -> None:
    one = measured_under("a", p={"num_samples": 100, "crop": {"size": 64}})
    two = measured_under("b", q={"num_samples": 200, "crop": {"size": 32}}, r={"num_samples": 300, "extractor": "Y"})
    assert refusal(one, two) == (
        "--one-table: rows of different protocols cannot be compared: "
        "p and q differ in num_samples 100 vs 200; crop.size 64 vs 32. "
        "p and r differ in num_samples 100 vs 300; extractor X vs Y; crop.size 64 vs none. "
        "Evaluate all runs alike, or leave the option out: each protocol has a table of its own."
    )


def test_rows_that_were_not_measured_are_named() -> None:
    elsewhere = [
        Configuration(name, f"hash-{name}", [Training(run(name, dataset_digest="e"), {})]) for name in ("b", "c")
    ]
    assert refusal(measured_under("a", p={}), *elsewhere).startswith(
        "--one-table: rows of different protocols cannot be compared: b, c: not measured. Evaluate all runs alike"
    )


CLAIM = Claim("c", "t", Level("level", "fd", Selector("b"), "lower", 1.0), "u")


@pytest.mark.parametrize(("formats", "asked"), [(("fp32", "fp32"), True), (("fp32", ""), False), (("", ""), False)])
def test_what_is_missing_is_asked_for_in_the_number_format_that_all_rows_were_given(
    formats: tuple[str, ...], asked: bool
) -> None:
    rows = [
        Configuration(
            name,
            f"hash-{name}",
            [Training(run(name, changed="precision" * bool(each)), {"p": Measured("p", PROTOCOL, 100, {"fid": 1.0})})],
            {"precision": each or "bf16"},
        )
        for name, each in zip(("a", "c"), formats, strict=True)
    ]
    results = Results(rows, {}, ())
    (table,) = build_tables(results, labels := label(rows))
    made = Report(results, labels, [table], (), [CLAIM], {table.name: []})
    (found,) = made.judgements(table, Wording())
    options = "--data faces --precision fp32" if asked else "--data faces"
    assert f"pipeline train --variant b {options} --seed 0," in " ".join(found.remedies)
