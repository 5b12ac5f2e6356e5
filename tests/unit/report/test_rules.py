"""The rules that decide claims and the words of their evidence."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.reporting.candidates import Candidate, Selector, Wording
from pipeline.reporting.numbers import Estimate, estimate
from pipeline.reporting.rules import Exceeds, Level, Side
from tests.unit.report.evidence import CODE, A, B, decide, lower, row, words


@pytest.mark.parametrize(
    ("left", "right", "margin", "verdict"),
    [
        ((10.0, 12.0), (20.0, 22.0), 0.0, "supported"),
        ((20.0, 22.0), (10.0, 12.0), 0.0, "contradicted"),
        ((10.0, 20.0), (12.0, 22.0), 0.0, "undecided"),
        ((9.0, 11.0), (99.0, 101.0), 0.85, "supported"),  # 90 lower with spreads of 1.41 each: 87.2 is more than 85
        ((9.0, 11.0), (99.0, 101.0), 0.89, "undecided"),
        ((9.0, 11.0), (99.0, 101.0), 0.95, "contradicted"),  # 92.8 at most, and 95 are claimed
        ((101.0, 101.0), (100.0, 100.0), -0.05, "supported"),  # reaches: less than 5 % higher
        ((104.0, 106.0), (100.0, 100.0), -0.05, "undecided"),
        ((106.0, 106.0), (100.0, 100.0), -0.05, "contradicted"),
        ((50.0, 50.0), (100.0, 100.0), -0.05, "supported"),  # passes
        ((-3.0, -3.0), (-2.0, -2.0), 0.25, "supported"),  # in units of the size of the right one, 0.5
        ((-3.0, -3.0), (-2.0, -2.0), 0.75, "contradicted"),
        ((5.0, 5.0), (5.0, 5.0), 0.0, "undecided"),
    ],
)
def test_difference(left: tuple[float, ...], right: tuple[float, ...], margin: float, verdict: str) -> None:
    rows = (row("a", *left), row("b", *right))
    assert decide(lower(margin), *rows).verdict == verdict
    mirrored = [row("a", *(-value for value in left)), row("b", *(-value for value in right))]
    assert decide(lower(margin, "higher"), *mirrored).verdict == verdict


VALUES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=5)
OPPOSITE = {"supported": "contradicted", "contradicted": "supported", "undecided": "undecided"}
MARGINS = st.floats(-0.99, 1)


@given(VALUES, VALUES)
def test_difference_is_antisymmetric_and_agrees_with_the_ties_of_the_tables(a: list[float], b: list[float]) -> None:
    rows = (row("a", *a), row("b", *b))
    found = decide(lower(), *rows).verdict
    assert decide(lower(left=B, right=A), *rows).verdict == OPPOSITE[found]
    assert decide(lower(side="higher"), *rows).verdict == OPPOSITE[found]
    assert (found == "undecided") == estimate(a).overlaps(estimate(b))


@given(VALUES, VALUES, MARGINS.filter(lambda margin: -margin > -0.99))
def test_beyond_a_margin_is_not_short_of_it(a: list[float], b: list[float], margin: float) -> None:
    rows = (row("a", *a), row("b", *b))
    found = decide(lower(margin), *rows).verdict
    assert decide(lower(-margin, "higher"), *rows).verdict == OPPOSITE[found]


@given(VALUES, VALUES, MARGINS, MARGINS)
def test_a_larger_margin_is_harder(a: list[float], b: list[float], one: float, other: float) -> None:
    order = ["contradicted", "undecided", "supported"]
    small, large = sorted((one, other))
    easy, hard = (decide(lower(m), row("a", *a), row("b", *b)).verdict for m in (small, large))
    assert order.index(easy) >= order.index(hard)


PAIRS = st.lists(st.integers(-1000, 1000).map(float), min_size=2, max_size=2)  # means without rounding errors


@given(PAIRS, PAIRS, st.sampled_from([-0.5, -0.125, 0.0, 0.125, 0.5]))
def test_a_further_seed_at_the_mean_takes_no_verdict_away(a: list[float], b: list[float], margin: float) -> None:
    before = decide(lower(margin), row("a", *a), row("b", *b))
    after = decide(lower(margin), row("a", *a, estimate(a).mean), row("b", *b))
    if before.verdict != "undecided":
        assert after.verdict == before.verdict


@pytest.mark.parametrize(
    ("left", "right", "margin", "verdict"),
    [
        ((30.0, 50.0), (40.0, 60.0), 0.0, "supported"),  # each seed is 10 lower, though the rows tie
        ((30.0, 50.0), (40.0, 60.0), 0.2, "undecided"),  # exactly a fifth of 50: neither more nor less
        ((30.0, 50.0), (40.0, 60.0), 0.25, "contradicted"),
        ((40.0, 60.0), (30.0, 50.0), 0.0, "contradicted"),
        ((30.0, 50.0), (32.0, 53.0), 0.0, "supported"),  # 2.5 ± 1 lower
        ((30.0, 50.0), (31.0, 53.0), 0.0, "undecided"),  # 2 ± 2 lower
        ((10.0, 12.0), (22.0, 20.0), 0.0, "supported"),
    ],
)
def test_difference_seed_by_seed(
    left: tuple[float, ...], right: tuple[float, ...], margin: float, verdict: str
) -> None:
    assert decide(lower(margin, paired=True), row("a", *left), row("b", *right)).verdict == verdict
    mirrored = [row("a", *(-value for value in left)), row("b", *(-value for value in right))]
    assert decide(lower(margin, "higher", paired=True), *mirrored).verdict == verdict


@given(PAIRS, PAIRS, st.floats(-1e3, 1e3))
def test_what_a_seed_does_to_both_rows_changes_no_paired_verdict(a: list[float], b: list[float], luck: float) -> None:
    shift = float(round(luck))
    before = decide(lower(paired=True), row("a", *a), row("b", *b))
    after = decide(lower(paired=True), row("a", a[0] + shift, a[1]), row("b", b[0] + shift, b[1]))
    assert after.verdict == before.verdict


def test_a_paired_interval_is_as_wide_as_the_other_where_seeds_have_nothing_in_common() -> None:
    """Four seeds whose deviations are uncorrelated: the width of an interval is that of the sum of both spreads."""
    a, b = (10.0, 12.0, 10.0, 12.0), (30.0, 30.0, 32.0, 32.0)
    evidence = [decide(lower(paired=paired), row("a", *a), row("b", *b)).evidence for paired in (False, True)]
    assert "a minus b is -20.0 ± 2.3;" in evidence[0]  # twice 1.155
    assert "a minus b seed by seed is -20.0 ± 2.3;" in evidence[1]  # √2 times 1.633


def test_only_seeds_that_both_rows_have_are_paired() -> None:
    found = decide(lower(paired=True), row("a", 30.0, 50.0, 999.0), row("b", 40.0, 60.0))
    assert found.verdict == "supported"
    assert found.evidence.startswith("fd: a 40.0 ± 14.1 (2 of 3 runs), b 50.0 ± 14.1 (2 seeds).")
    others = Candidate("b", "b", {}, 2, {"fd": estimate([40.0, 60.0])}, {}, {"fd": {"1": 40.0, "2": 60.0}})
    found = decide(lower(paired=True), row("a", 30.0, 50.0), others, wording=CODE)
    assert found.verdict == "undecided"
    assert words(found) == (
        "<a> and <b> have fewer than two seeds in common that have `fd`. Two seeds or more that both rows have decide: "
        "`pipeline train --variant a --seed N`, `pipeline evaluate --variant a` and `pipeline train --variant b --seed "
        "N`, `pipeline evaluate --variant b` with the same N."
    )


@pytest.mark.parametrize(
    ("values", "side", "verdict"),
    [
        ((0.6, 0.62), "higher", "supported"),
        ((0.4, 0.7), "higher", "undecided"),
        ((0.3, 0.32), "higher", "contradicted"),
        ((0.3, 0.32), "lower", "supported"),
        ((0.6, 0.62), "lower", "contradicted"),
        ((0.5, 0.5), "higher", "undecided"),
        ((0.5, 0.5), "lower", "undecided"),
        ((0.6,), "higher", "undecided"),
        ((), "higher", "undecided"),
        ((0.6, math.nan), "higher", "undecided"),
    ],
)
def test_level(values: tuple[float, ...], side: Side, verdict: str) -> None:
    assert decide(Level("level", "precision", A, side, 0.5), row("a", *values, measure="precision")).verdict == verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((0.1, 0.6, 0.1), "supported"),
        ((0.6,), "supported"),
        ((0.5, 0.4, 0.3, 0.2, 0.1), "contradicted"),
        ((0.5, 0.4, 0.3, 0.2), "undecided"),
        ((0.5,), "undecided"),
        ((), "undecided"),
        ((0.6, math.nan), "undecided"),
        ((0.6, math.inf), "undecided"),
    ],
)
def test_exceeds(values: tuple[float, ...], verdict: str) -> None:
    rule = Exceeds("exceeds", "worst_rise", A, 0.5)
    assert decide(rule, row("a", *values, measure="worst_rise")).verdict == verdict


def test_a_run_without_a_number_may_be_the_one_that_exceeds() -> None:
    calm = row("a", 0.1, 0.2, 0.1, 0.2, 0.1, measure="worst_rise", num_runs=6)
    found = decide(Exceeds("exceeds", "worst_rise", A, 0.5), calm)
    assert (found.verdict, "(5 of 6 runs)" in found.evidence) == ("undecided", True)


def test_evidence_has_the_numbers() -> None:
    found = decide(lower(0.05), row("a", 60.0, 62.0), row("b", 79.0, 81.0, 83.0, num_runs=4), wording=CODE)
    assert found.evidence == (
        "`fd`: <a> 61.0 ± 1.4 (2 seeds), <b> 81.0 ± 2.0 (3 of 4 runs). <a> minus <b> is -20.0 ± 3.4; to be lower by "
        "more than 5 % it has to be below -4.0. The whole interval is."
    )
    found = decide(lower(-0.05, "higher"), row("a", 60.0, 62.0), row("b", 80.0, 82.0))
    assert "to be less than 5 % lower it has to be above -4.0. No part of the interval is." in found.evidence
    found = decide(lower(), row("a", 60.0, 80.0), row("b", 79.0, 81.0), wording=CODE)
    assert words(found).endswith(
        "to be lower it has to be below 0.0. The interval reaches both sides. More seeds make it surer, though the "
        "spread no smaller: `pipeline train --variant a --seed N` and `pipeline train --variant b --seed N` with an N "
        "that was not used yet."
    )


def test_evidence_of_the_other_rules() -> None:
    risen = row("a", 0.2, 0.7, measure="worst_rise")
    assert decide(Exceeds("exceeds", "worst_rise", A, 0.5), risen).evidence == (
        "worst_rise: the largest of a run of a is 0.7 (2 seeds); one run has to be above 0.5. This one is."
    )
    assert decide(Level("level", "worst_rise", A, "lower", 3.0), risen).evidence == (
        "worst_rise: a 0.450 ± 0.354 (2 seeds); it has to be below 3. The whole interval is."
    )
    calm = decide(Exceeds("exceeds", "worst_rise", A, 0.5), row("a", 0.2, measure="worst_rise"), wording=CODE)
    assert "(1 seed); one run has to be above 0.5. None is, which fewer than 5 runs" in words(calm)
    assert "5 seeds or more decide: `pipeline train --variant a --seed N`" in words(calm)


def test_the_largest_run_decides_not_the_mean() -> None:
    measures = {"worst_rise": Estimate(0.3, 0.1, 3)}
    candidate = Candidate("a", "a", {}, 3, measures, {"worst_rise": 0.9})
    assert decide(Exceeds("exceeds", "worst_rise", A, 0.5), candidate).verdict == "supported"


def test_rows_are_selected_by_exactly_what_is_set() -> None:
    longer = Selector("a", {"epochs": 100, "optimizer.betas": [0.5, 0.9]})
    rows = [
        row("a", 1.0, 1.0),
        row("a", 2.0, 2.0, epochs=100),
        row("a", 3.0, 3.0, epochs=100, optimizer__betas=[0.5, 0.9]),
        row("a", 4.0, 4.0, epochs=100, optimizer__betas=[0.5, 0.9], batch_size=16),
    ]
    assert [longer.matches(each) for each in rows] == [False, False, True, False]
    assert [A.matches(each) for each in rows] == [True, False, False, False]
    assert Selector("a", {"epochs": 100, "optimizer": {"betas": [0.5, 0.9]}}).matches(rows[2])
    assert not B.matches(rows[0])
    assert decide(lower(left=longer, right=A), *rows).verdict == "contradicted"


def test_the_number_format_of_a_row_may_be_any() -> None:
    """`--precision fp32` on a device whose own is bf16 does not make it another experiment."""
    rows = [row("a", 1.0, 2.0, precision="fp32"), row("b", 3.0, 4.0, precision="fp32", epochs=100)]
    assert decide(lower(right=Selector("b", {"epochs": 100})), *rows).verdict == "supported"
    assert Selector("a", {"precision": "fp32"}).matches(rows[0])
    assert not Selector("a", {"precision": "bf16"}).matches(rows[0])
    twice = decide(lower(), *rows, row("a", 1.0, 2.0), row("b", 3.0, 4.0)).evidence
    assert "2 rows are a as in its file" in twice


def test_a_row_that_is_missing_is_asked_for() -> None:
    longer = Selector("wgan", {"epochs": 100, "initialization": "torch default"})
    wording = Wording(("--data", "faces"), ("--num-samples", "2048"), CODE.name, CODE.code)
    found = decide(lower(left=longer, right=longer), row("wgan", 1.0, 2.0), wording=wording)
    assert found.verdict == "undecided"
    command = "`pipeline train --variant wgan --data faces --set epochs=100 --set 'initialization=torch default' --seed"
    assert words(found) == (
        "There is no row of <wgan with epochs=100 initialization=torch default, all else as in its file>. Two seeds or "
        f"more decide: {command} 0`, {command} 1`, then `pipeline evaluate --variant wgan --num-samples 2048`."
    )
    both = decide(lower(), wording=CODE).evidence
    assert "no row of <a as in its file>" in both
    assert "no row of <b as in its file>" in both


def test_two_rows_for_one_decide_nothing() -> None:
    twins = [Candidate(f"a (config {n})", "a", {}, 2, {"fd": estimate([1.0, 1.0])}, {}) for n in (1, 2)]
    found = decide(lower(), *twins, row("b", 9.0, 9.0))
    assert found.verdict == "undecided"
    assert words(found).startswith("2 rows are a as in its file: a (config 1) and a (config 2). Report on the runs of")


@pytest.mark.parametrize(("one", "other"), [((1.0,), (9.0, 9.0)), ((1.0, 1.0), (9.0,))])
def test_one_seed_on_either_side_decides_nothing(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    found = decide(lower(), row("a", *one), row("b", *other))
    assert found.verdict == "undecided"
    single = "a" if len(one) == 1 else "b"
    assert words(found).startswith(f"{single} has fd of one seed only, and so no spread. Two seeds or more decide: ")
    assert f"pipeline train --variant {single} --seed 1, then" in words(found)


@pytest.mark.parametrize(
    ("measure", "has", "said"),
    [
        ("fd", {}, "a has no fd. This measures it, where there are images enough: pipeline evaluate --variant a."),
        ("best_fd", {}, "a has no best_fd. This measures it, where there are images enough: pipeline evaluate"),
        ("best_fd", {"fd": Estimate(1.0, 0.1, 2)}, "a has no best_fd. It comes from measurements during training"),
        ("worst_rise", {}, "a has no worst_rise. It comes from measurements during training, two or more (see"),
        ("fd", {"fd": Estimate(1.0, None, 0)}, "a has no fd. This measures it"),
        ("fd", {"fd": Estimate(math.nan, None, 2)}, "fd of a is not finite in every run: there is no mean."),
    ],
)
def test_what_was_not_measured_says_how(measure: str, has: Mapping[str, Estimate], said: str) -> None:
    rule = Level("level", measure, A, "lower", 1.0)
    found = decide(rule, Candidate("a", "a", {}, 2, has, {}))
    assert found.verdict == "undecided"
    assert words(found).startswith(said)


@pytest.mark.parametrize(
    ("learned", "verdict", "said"),
    [
        ((0.7, 0.72), "supported", "Condition: precision: a 0.710 ± 0.014 (2 seeds); it has to be above 0.5."),
        ((0.3, 0.32), "undecided", "A condition is not met. precision: a 0.310"),
        ((0.4, 0.7), "undecided", "A condition is not decided. precision: a 0.55"),
        ((), "undecided", "A condition is not decided. a has no precision."),
    ],
)
def test_a_condition_has_to_be_supported(learned: tuple[float, ...], verdict: str, said: str) -> None:
    measures = {"fd": estimate([1.0, 2.0]), **({"precision": estimate(learned)} if learned else {})}
    condition = Level("level", "precision", A, "higher", 0.5)
    found = decide(lower(), Candidate("a", "a", {}, 2, measures, {}), row("b", 9.0, 9.0), given_=(condition,))
    assert found.verdict == verdict
    assert words(found).startswith(said)
    assert ("minus" in found.evidence) == (verdict == "supported")
