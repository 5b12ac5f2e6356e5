"""The file of claims: its errors, and the five claims that the package ships."""

import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import UserError
from pipeline.cli import cli
from pipeline.config import apply_overrides, load_experiment, load_suite
from pipeline.reporting.candidates import Candidate, Selector
from pipeline.reporting.claims import Claim, judge, load_claims
from pipeline.reporting.numbers import estimate
from pipeline.reporting.rules import Difference
from pipeline.reporting.stability import MEASURES
from pipeline.workspace import experiments_directory
from tests.unit.report.evidence import CODE, lower, words

RULE = "{name: difference, measure: fd, left: {variant: a}, side: lower, right: {variant: b}, margin: 0.1}"
GOOD = f"claims:\n- {{id: x, text: t, unseen: u, rule: {RULE}}}\n"


def load(text: str, folder: Path) -> tuple[Claim, ...]:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return load_claims(path)


def test_a_file_by_path(tmp_path: Path) -> None:
    assert load(GOOD, tmp_path) == (Claim("x", "t", lower(0.1), "u"),)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: difference", "name: diference", "claims.0.rule.name must be one of 'difference', 'level', "
         "'exceeds', got 'diference'. Did you mean 'difference'?"),
        ("side: lower", "side: lowr", "claims.0.rule.side must be one of 'lower' or 'higher', got \"lowr\". Did you"),
        ("margin: 0.1", "margin: 0.1, limit: 2", "claims.0.rule.limit is not a field. Known fields: name, measure"),
        ("margin: 0.1", "margin: x", 'claims.0.rule.margin must be a valid number, got "x"'),
        ("margin: 0.1", "margin: .nan", "claims.0.rule.margin must be a finite number, got NaN"),
        ("margin: 0.1", "margin: 1.1", "claims.0.rule.margin must be less than or equal to 1, got 1.1"),
        ("margin: 0.1", "margin: -1", "claims.0.rule.margin must be greater than -1, got -1"),
        ("measure: fd", "measure: worst_ris", "got 'worst_ris'. Did you mean 'worst_rise'?"),
        ("measure: fd", "measure: fid", "claims.0.rule.measure must be one of fd, kd,"),
        ("{variant: a}", "{variant: a, sett: {}}", "claims.0.rule.left.sett is not a field. Did you mean 'set'?"),
        ("{variant: a}", "{variant: a, set: {2020-01-01: 1}}", "must hold plain texts, numbers and lists: keys"),
        ("{variant: a}", "{variant: a, set: {b: &b [*b]}}", "an alias stands inside of its own anchor"),
        ("{variant: a}", '{variant: a, set: {b: "\\uD800"}}', "must hold plain texts, numbers and lists: 'utf-8'"),
        (RULE, "{name: exceeds, measure: fd, row: {variant: a}, limit: 1}", "claims.0.rule.measure must be one of "
         "worst_rise, collapsed_share, last_to_best, progress, which are known of single runs, got 'fd'."),
        ("fd, left: {variant: a}", "worst_rise, left: {variant: a}, paired: true", "claims.0.rule.paired must be false "
         "with 'worst_rise': seed by seed are known fd, kd,"),
        ("unseen: u", "unseen: u, given: [3]", "claims.0.given.0 must be"),
        ("unseen: u, ", "", "claims.0.unseen is missing. Add it."),
        ("id: x", "id: x y", "claims.0.id "),
        (GOOD, "claims: []", "claims must hold at least one claim, got none. See experiments/claims.yaml."),
        (GOOD, GOOD + GOOD.removeprefix("claims:\n"), "claims.id must be another one for each claim, got 'x' 2 times."),
        (GOOD, GOOD + "title: t", "title is not a field. Known fields: claims."),
        (GOOD, "[]", "must hold fields as 'name: value', got list."),
        (GOOD, "claims: [", "is not valid YAML"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_field_rule_and_value(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    with pytest.raises(UserError) as caught:
        load(GOOD.replace(old, new, 1), tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        load_claims(tmp_path / "none.yaml")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("rule", "given", "id", "text", "left", "set", "variant", "margin", "name", "measure", "side", "other")
PLACES = st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3)


@given(place=PLACES, value=ANYTHING)
def test_whatever_stands_in_a_file_a_user_error_is_the_worst(
    place: list[str], value: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    claim = yaml.safe_load(GOOD)["claims"][0]
    target = claim
    for part in place[:-1]:
        target = target[part] if isinstance(target.get(part), dict) else target
    target[place[-1]] = value
    _never_crashes(yaml.safe_dump({"claims": [claim]}, allow_unicode=True), tmp_path_factory)


@given(
    text=st.text(alphabet=st.characters(codec="utf-8"), max_size=20),
    start=st.integers(0, len(GOOD)),
    length=st.integers(0, 20),
)
def test_whatever_text_a_file_is_a_user_error_is_the_worst(
    text: str, start: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _never_crashes(GOOD[:start] + text + GOOD[start + length :], tmp_path_factory)


def _never_crashes(text: str, folders: pytest.TempPathFactory) -> None:
    """Read a file; what loads can be judged too."""
    with suppress(UserError):
        judgements = judge(load(text, folders.getbasetemp()), [])
        assert {each.verdict for each in judgements} == {"undecided"}


# The claims of the reports.


@pytest.fixture(scope="module")
def shipped() -> tuple[Claim, ...]:
    return load_claims(experiments_directory() / "claims.yaml")


def test_the_claims_at_a_tenth_are_of_rows_of_their_suite() -> None:
    suite = load_suite("reports_tenth")
    assert suite.claims is not None
    rows = [(cell.variant, dict(cell.set)) for cell in suite.cells]
    claims = load_claims(Path(suite.claims))
    assert [claim.id for claim in claims] == ["dcgan_beats_wgan", "dcgan_is_unstable", "wgan_sgd_is_more_stable"]
    assert all((each.variant, dict(each.set)) in rows for claim in claims for each in selectors(claim))


def selectors(claim: Claim) -> list[Selector]:
    rules = [claim.rule, *claim.given]
    return [
        each for rule in rules for each in ([rule.left, rule.right] if isinstance(rule, Difference) else [rule.row])
    ]


def test_the_reports_five_claims(shipped: tuple[Claim, ...]) -> None:
    assert [claim.id for claim in shipped] == [
        "dcgan_beats_wgan", "wgan_catches_up", "dcgan_is_unstable", "wgan_sgd_is_more_stable", "dcgan_still_improves",
    ]  # fmt: skip
    for claim in shipped:
        for selector in selectors(claim):
            overrides = [f"{key}={value}" for key, value in selector.set.items()]
            changed, kept = load_experiment(selector.variant, overrides), load_experiment(selector.variant)
            assert changed.variant == selector.variant
            assert (changed == kept) == (not overrides)  # what is set differs from the file


REPORTED = {  # variant, epochs -> fd, best_fd, worst_rise, progress of each seed, as the reports have it
    ("dcgan", None): ((60.0, 62.0), (58.0, 60.0), (0.1, 0.2), (0.8, 0.8)),
    ("wgan", None): ((80.0, 82.0), (79.0, 80.0), (0.1, 0.1), (0.7, 0.7)),
    ("wgan", 100): ((60.0, 61.0), (58.0, 59.0), (0.1, 0.1), (0.8, 0.8)),
    ("dcgan_51", None): ((50.0, 90.0), (44.0, 46.0), (0.9, 0.7), (0.8, 0.8)),
    ("dcgan", 100): ((50.0, 90.0), (34.0, 36.0), (0.9, 0.7), (0.9, 0.9)),
    ("wgan_sgd", None): ((70.0, 71.0), (70.0, 71.0), (0.0, 0.1), (0.7, 0.8)),
}
Values = Mapping[tuple[str, int | None], tuple[tuple[float, ...], ...]]


def candidates(values: Values) -> list[Candidate]:
    names = ("fd", "best_fd", "worst_rise", "progress")
    return [
        Candidate(
            label=variant if epochs is None else f"{variant} (epochs={epochs})",
            variant=variant,
            overridden={} if epochs is None else {"epochs": epochs},
            num_runs=len(numbers[0]),
            measures={name: estimate(seeds) for name, seeds in zip(names, numbers, strict=True)},
            worst={name: max(seeds) for name, seeds in zip(names, numbers, strict=True) if name in MEASURES},
            by_seed={
                name: {str(seed): value for seed, value in enumerate(seeds)}
                for name, seeds in zip(names, numbers, strict=True)
            },
        )
        for (variant, epochs), numbers in values.items()
    ]


def test_results_as_the_reports_tell_them_support_all(shipped: tuple[Claim, ...]) -> None:
    assert {each.claim.id: each.verdict for each in judge(shipped, candidates(REPORTED))} == dict.fromkeys(
        [claim.id for claim in shipped], "supported"
    )


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        # WGAN is ahead; DCGAN is, by less than 5 %; by 5 % or not
        ({("wgan", None): ((40.0, 41.0), (40.0, 41.0), (0.1, 0.1), (0.7, 0.7))}, {"dcgan_beats_wgan": "contradicted"}),
        ({("wgan", None): ((62.0, 62.0), (62.0, 62.0), (0.1, 0.1), (0.7, 0.7))}, {"dcgan_beats_wgan": "contradicted"}),
        ({("wgan", None): ((64.0, 64.0), (64.0, 64.0), (0.1, 0.1), (0.7, 0.7))}, {"dcgan_beats_wgan": "undecided"}),
        ({("wgan", 100): ((60.0, 61.0), (70.0, 71.0), (0.1, 0.1), (0.8, 0.8))}, {"wgan_catches_up": "contradicted"}),
        ({("wgan", 100): ((60.0, 61.0), (62.0, 63.0), (0.1, 0.1), (0.8, 0.8))}, {"wgan_catches_up": "undecided"}),
        # no seed of dcgan_51 ever gets worse, of five: now wgan_sgd is not the steadier one either
        (
            {("dcgan_51", None): ((44.0,) * 5, (44.0,) * 5, (0.0,) * 5, (0.8,) * 5)},
            {"dcgan_is_unstable": "contradicted", "wgan_sgd_is_more_stable": "undecided"},
        ),
        (
            {("wgan_sgd", None): ((70.0, 71.0), (70.0, 71.0), (1.9, 2.0), (0.7, 0.8))},
            {"wgan_sgd_is_more_stable": "contradicted"},
        ),
        # it stands still, and learns nothing
        (
            {("wgan_sgd", None): ((369.0, 369.0), (369.0, 369.0), (0.0, 0.0), (0.001, 0.001))},
            {"wgan_sgd_is_more_stable": "undecided"},
        ),
        # seed by seed it gains 4 and 1 of 45; 0 and 1, less than 5 % for each
        ({("dcgan", 100): ((50.0, 90.0), (40.0, 45.0), (0.9, 0.7), (0.9, 0.9))}, {"dcgan_still_improves": "undecided"}),
        (
            {("dcgan", 100): ((50.0, 90.0), (44.0, 45.0), (0.9, 0.7), (0.9, 0.9))},
            {"dcgan_still_improves": "contradicted"},
        ),
        (
            {("dcgan", 100): ((50.0, 90.0), (46.0, 46.0), (0.9, 0.7), (0.9, 0.9))},
            {"dcgan_still_improves": "contradicted"},
        ),
    ],
)  # fmt: skip
def test_other_results_decide_otherwise(shipped: tuple[Claim, ...], changes: Values, verdicts: dict[str, str]) -> None:
    found = {each.claim.id: each.verdict for each in judge(shipped, candidates({**REPORTED, **changes}))}
    assert {name: found[name] for name in verdicts} == verdicts
    assert {verdict for name, verdict in found.items() if name not in verdicts} == {"supported"}


def test_a_gain_that_every_seed_has_is_seen_where_the_seeds_differ_more(shipped: tuple[Claim, ...]) -> None:
    changes: Values = {
        ("dcgan", 100): ((40.0, 60.0), (36.0, 56.0), (0.1, 0.1), (0.9, 0.9)),
        ("dcgan_51", None): ((44.0, 64.0), (40.0, 60.0), (0.9, 0.7), (0.8, 0.8)),
    }
    found = {each.claim.id: each for each in judge(shipped, candidates({**REPORTED, **changes}))}
    assert found["dcgan_still_improves"].verdict == "supported"
    assert "seed by seed is -4.0 ± 0.0" in found["dcgan_still_improves"].evidence


def test_without_rows_all_are_undecided_with_commands_that_work(shipped: tuple[Claim, ...]) -> None:
    found = judge(shipped, [], CODE)
    assert {each.verdict for each in found} == {"undecided"}
    for each in found:
        commands = [shlex.split(text) for text in re.findall("`(pipeline .*?)`", words(each))]
        assert {command[1] for command in commands} == {"train", "evaluate"}
        for _, stage, *options in commands:
            context = cli.commands[stage].make_context(stage, options)
            if stage == "train":
                data: dict[str, Any] = {}
                apply_overrides(data, context.params["overrides"])
                wanted = [(selector.variant, dict(selector.set)) for selector in selectors(each.claim)]
                assert (context.params["variant"], data) in wanted
