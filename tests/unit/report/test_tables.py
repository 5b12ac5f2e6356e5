import dataclasses
import math

import pytest

from pipeline.reporting.formats import PLAIN
from pipeline.reporting.frames import further, uncertainty, written
from pipeline.reporting.labels import label
from pipeline.reporting.results import Configuration, Measured, Results, Training
from pipeline.reporting.sentences import sentences
from pipeline.reporting.tables import Table, build_tables, metric_of
from tests.unit.report.made import PROTOCOL, configuration, measured, run, tables

MARKED = dataclasses.replace(PLAIN, best=lambda text: f"<{text}>")


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("fid", "FID last ↓"),
        ("kid", "KID ×1000 ↓"),
        ("fd_inception768", "FD last ↓"),
        ("kd_efficientnet_lite0", "KD ×1000 ↓"),
        ("best_fd_inception768", "FD best ↓"),
        ("best_fid", "FID best ↓"),
        ("fid_infinity", "FID∞ ↓"),
        ("precision_inception768", "precision ↑"),
        ("best_precision_inception768", "precision best ↑"),
        ("memorised_inception768", "memorised"),
        ("fidelity", "fidelity"),
    ],
)
def test_column_titles(name: str, title: str) -> None:
    assert metric_of(name).title == title


def test_columns_are_what_was_measured_main_ones_first() -> None:
    values = {"recall_x": 0.5, "kid": 0.1, "odd": 0.2, "fid_infinity": 9.0, "fid": 10.0, "best_fid": 8.0, "best_kid": 1}
    one = Configuration("a", "h", [Training(run(seed="0"), {"p": measured(values)})])
    (table,) = tables(one)
    assert [metric.name for metric in table.metrics if metric.in_main] == ["fid", "best_fid", "kid", "recall_x"]
    assert [metric.name for metric in table.metrics if not metric.in_main] == ["best_kid", "fid_infinity", "odd"]
    assert [verdict.metric.name for verdict in table.verdicts] == ["fid", "best_fid", "kid"]
    (line,) = further(table, PLAIN).to_dict("records")  # type: ignore[union-attr]
    assert line == {
        "variant": "a",
        "seeds": "1",
        "KID ×1000 best ↓": "1000.0",
        "FID∞ ↓": "9.00",
        "odd": "0.200",
    }


def test_numbers_come_in_one_order_in_every_process() -> None:
    """Sets of texts do not: the same store would not give the same bytes."""
    names = [f"kind_{number}" for number in range(20)]
    spreads = dict.fromkeys(names, 1.0)
    one = Training(run(seed="0"), {"p": Measured("p", PROTOCOL, 100, {"fid": 1.0}, spreads, spreads)})
    (table,) = tables(Configuration("a", "h", [one]))
    assert list(table.rows[0].sampling) == list(table.rows[0].errors) == names


def test_three_kinds_of_uncertainty_stand_apart() -> None:
    runs = [
        Training(
            run(str(seed), seed=str(seed)),
            {"p": Measured("p", PROTOCOL, 100, {"fid": value}, {"fid": spread}, {"fid": 0.5})},
        )
        for seed, (value, spread) in enumerate([(10.0, 1.0), (14.0, 3.0)])
    ]
    (table,) = tables(Configuration("a", "h", runs))
    (line,) = uncertainty(table, PLAIN).to_dict("records")
    assert line == {
        "variant": "a", "metric": "FID last ↓", "mean": "12", "over training seeds": "2.83", "over sampling seeds": "2",
        "of the estimator": "0.5",
    }  # fmt: skip


def test_corrupted_real_images_are_rows_after_the_floor() -> None:
    results = Results(
        [configuration("a", 10.0)],
        {"p": measured({"fid": 0.5})},
        (),
        {"p": {"with noise": measured({"fid": 40.0}), "flipped": measured({"fid": 0.6})}},
    )
    (table,) = build_tables(results, label(results.configurations))
    frame = written(table, PLAIN)
    assert frame["variant"].tolist() == [
        "a", "real images", "real images flipped", "real images with noise",
    ]  # fmt: skip
    assert frame["health"].tolist() == ["finished", "floor", "sanity", "sanity"]
    assert frame["FID last ↓"].tolist() == ["10.0", "0.5", "0.6", "40.0"]


def test_flags_of_a_measurement_stand_in_the_status() -> None:
    flagged = Measured("p", PROTOCOL, 100, {"fid": 300.0}, flags=["collapsed"])
    sick = Training(run("x", seed="0", health="stalled"), {"p": flagged})
    (table,) = tables(
        Configuration("a", "h", [Training(run(seed="0"), {"p": flagged})]), Configuration("b", "i", [sick])
    )
    assert [row.status for row in table.rows] == ["collapsed", "stalled and collapsed"]


def test_best_is_bold_where_no_interval_overlaps() -> None:
    (table,) = tables(configuration("b", 20.0, 22.0), configuration("a", 10.0, 12.0))
    assert _column(table) == ["<11.0 ± 1.4>", "21.0 ± 1.4"]
    assert _first(table) == "fid: a is best: its interval mean ± spread overlaps no other row's."


def test_a_tie_is_not_bold() -> None:
    (table,) = tables(configuration("a", 10.0, 20.0), configuration("b", 15.0, 25.0), configuration("c", 90.0, 91.0))
    assert _column(table) == ["15.0 ± 7.1", "20.0 ± 7.1", "90.5 ± 0.7"]
    assert _first(table) == ("fid: a has the lowest mean. It ties with b: their intervals mean ± spread overlap.")


def test_a_wide_third_row_ties_although_the_second_does_not() -> None:
    (table,) = tables(configuration("a", 10.0, 11.0), configuration("b", 20.0, 21.0), configuration("c", 5.0, 95.0))
    assert "a has the lowest mean. It ties with c:" in _first(table)
    assert "<" not in "".join(_column(table))


@pytest.mark.parametrize("one_seed", ["a", "b"])
def test_one_seed_decides_nothing(one_seed: str) -> None:
    values = {"a": [10.0, 11.0], "b": [90.0, 91.0]}
    values[one_seed] = values[one_seed][:1]
    (table,) = tables(*(configuration(name, *numbers) for name, numbers in values.items()))
    assert "<" not in "".join(_column(table))
    assert "Nothing can be said about the difference to b: one seed has no spread." in _first(table)


def test_a_row_alone_is_compared_with_nothing() -> None:
    (table,) = tables(configuration("a", 10.0, 11.0), configuration("b"))
    assert _column(table) == ["10.5 ± 0.7", "-"]
    assert [row.status for row in table.rows] == ["finished", "not evaluated"]
    assert _first(table) == "fid: a is the only row with a value: there is nothing to compare it with."


def test_nan_is_last_and_never_best() -> None:
    (table,) = tables(configuration("a", math.nan, 1.0), configuration("b", 10.0, 11.0))
    assert _column(table) == ["10.5 ± 0.7", "nan"]
    assert table.verdicts[0].lowest == "b"


def test_an_unfinished_run_is_marked_and_counts_for_nothing() -> None:
    two = [*configuration("a", 10.0, 12.0).trainings, Training(run("x", "FAILED", seed="7", health="diverged"), {})]
    (table,) = tables(Configuration("a", "h", two))
    assert (table.rows[0].status, table.rows[0].num_seeds, table.rows[0].num_runs) == ("1 diverged, 2 finished", 2, 3)
    assert "a: the mean is over 2 of 3 runs (1 diverged, 2 finished)." in sentences(table, PLAIN)


@pytest.mark.parametrize(
    ("precision", "coverage", "warned"),
    [(0.01, 0.0099, True), (0.1, 0.01, False), (0.0099, 0.0, False), (1.0, 0.9, False)],
)
@pytest.mark.parametrize("prefix", ["", "best_"])
def test_a_precision_that_rests_on_few_real_images_is_said(
    prefix: str, precision: float, coverage: float, warned: bool
) -> None:
    numbers = {"fid": 9.0, f"{prefix}precision_inception": precision, f"{prefix}coverage_inception": coverage}
    honest = Training(run("x", seed="0"), {"p": measured({"fid": 8.0, "precision_inception": 0.7})})
    fooled = Training(run("y", seed="0"), {"p": measured(numbers)})
    (table,) = tables(Configuration("a", "h", [honest]), Configuration("b", "i", [fooled]))
    found = [sentence for sentence in sentences(table, PLAIN) if sentence.startswith("The precision of b is no sign")]
    assert len(found) == warned


@pytest.mark.parametrize(
    ("selections", "said"),
    [
        (("x", "x", "x"), []),
        (("", "", ""), []),
        (("x", "x", ""), ["Of b no generator was chosen during training: best is last."]),
        (("x", "y", "x"), ["Best generators were chosen in different ways (x and y, the artifact"]),
    ],
)
def test_best_generators_that_were_not_chosen_alike_are_said(selections: tuple[str, ...], said: list[str]) -> None:
    first, second, third = (
        Training(run(str(n), seed=str(n), selection=selection), {"p": measured({"fid": 9.0, "best_fid": 8.0})})
        for n, selection in enumerate(selections)
    )
    (table,) = tables(Configuration("a", "h", [first, second]), Configuration("b", "i", [third]))
    found = [sentence for sentence in sentences(table, PLAIN) if "chosen" in sentence]
    assert len(found) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(found, said, strict=True))


def test_health_of_a_finished_run_is_its_status() -> None:
    sick = Training(run("x", seed="0", health="collapsed"), {"p": measured({"fid": 300.0})})
    unmeasured = Training(run("y", seed="0", health="collapsed"), {})
    (table,) = tables(Configuration("a", "h", [sick]), Configuration("b", "i", [unmeasured]))
    assert [row.status for row in table.rows] == ["collapsed", "collapsed, not evaluated"]
    assert _column(table) == ["300.0", "-"]


def test_the_floor_says_with_how_many_images() -> None:
    (fewer,) = tables(configuration("a", 10.0), floor=measured({"fid": 0.5}, num_measured=60))
    (as_many,) = tables(configuration("a", 10.0), floor=measured({"fid": 0.5}))
    assert written(fewer, PLAIN)["variant"].tolist() == ["a", "real images (60 images)"]
    assert written(as_many, PLAIN)["variant"].tolist() == ["a", "real images"]
    assert any("with 60 images instead of 100" in sentence for sentence in sentences(fewer, PLAIN))
    assert len(sentences(as_many, PLAIN)) == 1


def test_a_floor_alone_is_a_table() -> None:
    (table,) = tables(configuration("a"), floor=measured({"fid": 0.5}))
    assert _column(table) == ["-", "0.50"]
    assert table.verdicts == []


def test_a_missing_floor_is_asked_for() -> None:
    (table,) = tables(configuration("a", 10.0))
    assert "pipeline evaluate --real faces --num-samples 100 measures it." in sentences(table, PLAIN)[-1]


def test_nothing_measured_at_all() -> None:
    (table,) = tables(configuration("a"))
    assert (table.protocol_hash, table.title, table.metrics) == (None, "Not evaluated", [])


def _column(table: Table) -> list[str]:
    frame = written(table, MARKED, costs=False)
    return [str(value) for value in frame["FID last ↓"]]


def _first(table: Table) -> str:
    return sentences(table, PLAIN)[0]
