"""The report for machines: JSON that every parser takes, and numbers that nothing was rounded of."""

import csv
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import pytest

from pipeline.reporting.budgets import View
from pipeline.reporting.formats import HTML, MARKDOWN
from pipeline.reporting.illustrations import Illustrations
from pipeline.reporting.labels import label
from pipeline.reporting.machine import csv_files, json_text
from pipeline.reporting.model import Group, Report
from pipeline.reporting.numbers import estimate
from pipeline.reporting.results import Configuration, Measured, Results, Training
from pipeline.reporting.stability import Stability
from pipeline.reporting.tables import build_tables
from pipeline.reporting.writing import files_of
from tests.unit.report.made import PROTOCOL, configuration, run

THIRD = 1 / 3
KERNEL = 0.0012345678901234567  # tables write 1.23
SECONDS = 1234.5678901234567


def measured(metrics: Mapping[str, float], **changes: Any) -> Measured:
    spread, error = {name: value / 7 for name, value in metrics.items()}, {"fid": THIRD / 11}
    made = Measured("p", PROTOCOL, 100, dict(metrics), spread, error)
    return dataclasses.replace(made, **changes)


def row(variant: str, *results: Mapping[str, float], config: Mapping[str, Any] | None = None) -> Configuration:
    """Return a configuration with one training for each result."""
    costs = {"cost/total_images": 64000.0, "time/train_seconds": SECONDS}
    runs = [dataclasses.replace(run(f"{variant}{seed}", seed=str(seed)), metrics=costs) for seed in range(len(results))]
    trainings = [Training(one, {"p": measured(each)}) for one, each in zip(runs, results, strict=True)]
    return Configuration(variant, f"hash-{variant}", trainings, config or {})


def report(*rows: Configuration, floor: Measured | None = None, groups: Sequence[Group] = ()) -> Report:
    first = rows[0].trainings[0].run.run_id
    results = Results(rows, {"p": floor} if floor else {}, [(run("again"), first)], refused=[(run("odd"), "why")])
    labels = label(rows)
    return Report(results, labels, build_tables(results, labels), groups, (), {"p": (), "not-evaluated": ()})


def parsed(made: Report) -> Any:
    """Read the text as strictly as any parser may."""
    text = json_text(made, "software 1")

    def refuse(token: str) -> None:
        pytest.fail(f"{token} is no JSON")

    return json.loads(text.encode(), parse_constant=refuse)


def lines(made: Report, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(csv_files(made)[name], newline="")))


def test_json_has_null_where_a_number_is_not_finite_and_all_digits_elsewhere() -> None:
    broken = {"fid": math.nan, "kid": KERNEL}
    config = {"lr": math.inf, "optimizer": {"betas": (0.5, -math.inf)}, "eps": 1e-300}
    floor = measured({"fid": -math.inf, "kid": THIRD}, protocol=PROTOCOL)
    content = parsed(report(row("a", {"fid": 0.1 + 0.2, "kid": KERNEL}, broken, config=config), floor=floor))
    (table,) = content["tables"]
    (a,) = table["rows"]
    assert a["metrics"]["fid"] == {"mean": None, "spread": None, "num_seeds": 2}
    assert a["metrics"]["kid"] == {"mean": KERNEL, "spread": 0.0, "num_seeds": 2}
    assert a["config"] == {"lr": None, "optimizer": {"betas": [0.5, None]}, "eps": 1e-300}
    assert a["sampling_spread"] == {"fid": None, "kid": KERNEL / 7}
    assert a["estimator_error"] == {"fid": THIRD / 11}
    assert a["costs"] == {"total_images": 64000.0, "seconds": SECONDS, "device": "?"}
    (real,) = table["real"]
    assert (real["row"], real["status"], real["metrics"]) == ("real images", "floor", {"fid": None, "kid": THIRD})


def test_json_of_trainings_has_null_too() -> None:
    views = [View("seconds", 0.5, math.inf, {"a": estimate([math.nan]), "b": estimate([THIRD]), "c": None}, {"c": "?"})]
    steady = {"a": Stability({"worst_rise": estimate([THIRD, math.inf])}, {"worst_rise": math.inf})}
    group = Group("faces", "d", "s", {"a": ()}, {"curve/fd_x": views}, {"curve/fd_x": steady})
    (training,) = parsed(report(configuration("a", 1.0), groups=[group]))["trainings"]
    (view,) = training["equal_effort"]["curve/fd_x"]
    assert view["budget"] is None
    assert view["estimates"] == {
        "a": {"mean": None, "spread": None, "num_seeds": 1},
        "b": {"mean": THIRD, "spread": None, "num_seeds": 1},
        "c": None,
    }
    assert view["missing"] == {"c": "?"}
    found = training["stability"]["curve/fd_x"]["a"]
    assert (found["estimates"]["worst_rise"]["mean"], found["largest"]) == (None, {"worst_rise": None})


def test_json_names_every_run() -> None:
    content = parsed(report(configuration("a", 1.0, 2.0), configuration("b", 9.0, config_hash="g")))
    assert [(each["run_id"], each["row"], each["seed"]) for each in content["runs"]] == [
        ("a0", "a", "0"),
        ("a1", "a", "1"),
        ("b0", "b", "0"),
    ]
    assert content["duplicates"] == [{"run_id": "again", "same_as": "a0"}]
    assert content["refused"] == [{"run_id": "odd", "reason": "why"}]
    assert content["software"] == "software 1"
    assert content["tables"][0]["comparisons"] == [
        {"metric": "fid", "lowest": "a", "is_best": False, "ties": [], "unknown": ["b"]}
    ]


def test_csv_has_all_digits_of_means_and_spreads() -> None:
    first, second = {"fid": THIRD, "kid": KERNEL}, {"fid": 0.1 + 0.2, "kid": -KERNEL / 3}
    made = report(
        row("a", first, second), row("b", {"kid": 1e-12}), floor=measured({"fid": THIRD / 3, "kid": KERNEL / 9})
    )
    a, b, floor = lines(made, "table-p.csv")
    for name in ("fid", "kid"):
        expected = estimate([first[name], second[name]])
        assert (float(a[f"{name}_mean"]), float(a[f"{name}_spread"])) == (expected.mean, expected.spread)
    assert (float(a["mean_seconds"]), float(a["total_images"])) == (SECONDS, 64000)
    assert (b["fid_mean"], b["fid_spread"], float(b["kid_mean"]), b["kid_spread"]) == ("", "", 1e-12, "")
    assert floor["row"] == "real images"
    assert (float(floor["fid_mean"]), float(floor["kid_mean"]), floor["kid_spread"]) == (THIRD / 3, KERNEL / 9, "")


def test_csv_of_the_runs_has_every_metric_and_its_uncertainties() -> None:
    metrics = {"fid": THIRD, "best_fid": THIRD / 2, "density_x": KERNEL, "odd": 12345678.901234567}
    made = report(row("a", metrics, {"fid": 2.0}), floor=measured({"fid": 0.5}, num_measured=60))
    first, second, floor = lines(made, "runs-p.csv")
    assert {name: float(first[name]) for name in metrics} == metrics
    assert {name: float(first[f"{name}_sampling_spread"]) for name in metrics} == {n: v / 7 for n, v in metrics.items()}
    assert float(first["fid_error"]) == THIRD / 11
    assert [(each["run_id"], each["seed"], each["num_measured"]) for each in (first, second)] == [
        ("a0", "0", "100"),
        ("a1", "1", "100"),
    ]
    assert (float(second["fid"]), second["odd"], second["best_fid"]) == (2.0, "", "")
    assert (floor["row"], float(floor["fid"]), floor["num_measured"]) == ("real images", 0.5, "60")


def test_the_index_leads_to_the_files() -> None:
    odd = Configuration("odd", "o", [Training(run("o", dataset_digest="elsewhere"), {})])
    made = report(configuration("a", 1.0), odd)
    index = lines(made, "protocols.csv")
    assert [each["protocol"] for each in index] == ["p", "not-evaluated"]
    named = {each[key] for each in index for key in ("table", "runs")}
    assert named | {"protocols.csv", "curves.csv"} == csv_files(made).keys()
    assert [index[0][field] for field in PROTOCOL] == [str(value) for value in PROTOCOL.values()]
    assert [each["row"] for each in lines(made, "table-not-evaluated.csv")] == ["odd"]


NO_PICTURES = Illustrations([], [], [], {"p": []}, [], 0)


@pytest.mark.parametrize("text", ['a,"b"\r\n;c', "é漢😀", "\ud83d half a character", "\0"])
def test_texts_of_the_store_leave_the_files_whole(text: str) -> None:
    content = PROTOCOL | {"extractor": text}
    training = Training(run("r", seed="0"), {"p": measured({"fid": 1.0}, protocol=content)})
    made = report(Configuration("a", "h", [training], {"title": text}))
    files = files_of(made, NO_PICTURES, "command", "software", (MARKDOWN, HTML))
    (table,) = json.loads(files["results.json"])["tables"]
    assert (table["protocol"], table["rows"][0]["config"]) == (content, {"title": text})
    assert [each["row"] for each in csv.DictReader(StringIO(files["table-p.csv"].decode(), newline=""))] == ["a"]
    (index,) = csv.DictReader(StringIO(files["protocols.csv"].decode(), newline=""))
    assert index.keys() == {"protocol", "table", "runs", *PROTOCOL}
    assert index["num_samples"] == "100"
    if text.isprintable():
        assert index["extractor"] == text
