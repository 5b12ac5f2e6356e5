"""Table of rules that decide a claim. A new kind is a class with `decide` and one entry in `Rule`.

Intervals are mean ± spread over seeds, as in the tables: that of a difference has the sum of both spreads, so that it
holds 0 exactly where Estimate.overlaps says that two rows tie.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic.dataclasses import dataclass

from gan.schema import STRICT
from pipeline.reporting.candidates import KNOWN_MEASURES, TABLE_MEASURES, Gap, Known, Rows, Selector
from pipeline.reporting.numbers import Estimate, decimals_of, estimate, write_estimate
from pipeline.reporting.stability import MEASURES

Verdict = Literal["supported", "contradicted", "undecided"]
Side = Literal["lower", "higher"]
SIGNS: Mapping[Side, int] = {"lower": -1, "higher": 1}
OTHER: Mapping[Side, Side] = {"lower": "higher", "higher": "lower"}
ENDINGS: Mapping[Verdict, str] = {
    "supported": "The whole interval is.",
    "contradicted": "No part of the interval is.",
    "undecided": "The interval reaches both sides.",
}
CALM_RUNS = 5  # a collapse that half of all trainings show stays unseen in so many with a probability of 1/32
BEYOND: Mapping[Side, str] = {"lower": "below", "higher": "above"}


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a rule says, in sentences. evidence: the numbers, or what is missing. remedies: what could still decide."""

    verdict: Verdict
    evidence: str
    remedies: Sequence[str] = ()


def _missing(gaps: Sequence[Gap]) -> Finding:
    return Finding("undecided", " ".join(each.what for each in gaps), tuple(each.remedy for each in gaps))


def _measure(value: str) -> str:
    if value in KNOWN_MEASURES:
        return value
    near = difflib.get_close_matches(value, KNOWN_MEASURES, n=1)
    hint = f". Did you mean '{near[0]}'?" if near else ""
    raise ValueError(f"must be one of {', '.join(KNOWN_MEASURES)}, got '{value}'{hint}")


def _measure_of_runs(value: str) -> str:
    if value in MEASURES:
        return value
    raise ValueError(f"must be one of {', '.join(MEASURES)}, which are known of single runs, got '{value}'")


def _pairable(value: bool, info: ValidationInfo) -> bool:
    if value and (measure := info.data.get("measure", "")) in MEASURES:
        raise ValueError(f"must be false with '{measure}': seed by seed are known {', '.join(TABLE_MEASURES)}")
    return value


AnyMeasure = Annotated[str, AfterValidator(_measure)]
MeasureOfRuns = Annotated[str, AfterValidator(_measure_of_runs)]
Limit = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Margin = Annotated[float, Field(gt=-1, le=1, allow_inf_nan=False)]


@dataclass(frozen=True, config=STRICT)
class Difference:
    """The left row is lower (or higher) than the right one, by more than a margin in units of the right one's mean.

    With a margin below 0 it may be that much on the other side: "reaches or passes". paired: seed by seed, for rows
    whose trainings share their beginnings: the mean of the differences of the seeds that both have, ± √2 standard
    deviations, which is as wide as the other interval where a seed does the same to neither row.
    """

    name: Literal["difference"]
    measure: AnyMeasure
    left: Selector
    side: Side
    right: Selector
    margin: Margin
    paired: Annotated[bool, AfterValidator(_pairable)] = False

    def decide(self, rows: Rows) -> Finding:
        """Compare the interval of the difference with the margin."""
        known, gaps = rows.look_up([self.left, self.right], self.measure)
        if gaps:
            return _missing(gaps)
        left, right = known
        one, other = rows.wording.name(left.label), rows.wording.name(right.label)
        if self.paired and len(seeds := left.by_seed.keys() & right.by_seed.keys()) < 2:
            lack = f"{one} and {other} have fewer than two seeds in common that have {rows.wording.code(self.measure)}."
            return Finding("undecided", lack, (rows.to_pair([self.left, self.right]),))
        if self.paired:
            left, right = left.only(seeds), right.only(seeds)
        difference = (_minus_by_seed if self.paired else _minus)(left, right)
        limit = SIGNS[self.side] * self.margin * abs(right.estimate.mean)
        verdict = _side_of(difference, limit, self.side)
        decimals = decimals_of([left.estimate.mean, right.estimate.mean])
        how = " seed by seed" if self.paired else ""
        sentences = [
            f"{rows.wording.code(self.measure)}: {_written(left, decimals, rows)}, {_written(right, decimals, rows)}.",
            f"{one} minus {other}{how} is {write_estimate(difference, decimals)}; to be {self._claim()} it has to be "
            f"{BEYOND[self.side]} {limit + 0.0:.{decimals}f}.",  # + 0.0: no "-0.0"
            ENDINGS[verdict],
        ]
        return Finding(verdict, " ".join(sentences), _surer(verdict, rows, self.left, self.right))

    def _claim(self) -> str:
        percent = f"{100 * abs(self.margin):.6g} %"
        if self.margin < 0:
            return f"less than {percent} {OTHER[self.side]}"
        return f"{self.side} by more than {percent}" if self.margin else self.side


@dataclass(frozen=True, config=STRICT)
class Level:
    """A row is lower (or higher) than a limit in the measure's own units."""

    name: Literal["level"]
    measure: AnyMeasure
    row: Selector
    side: Side
    limit: Limit

    def decide(self, rows: Rows) -> Finding:
        """Compare the row's interval with the limit."""
        known, gaps = rows.look_up([self.row], self.measure)
        if gaps:
            return _missing(gaps)
        (row,) = known
        verdict = _side_of(row.estimate, self.limit, self.side)
        sentences = [
            f"{rows.wording.code(self.measure)}: {_written(row, decimals_of([row.estimate.mean]), rows)}; it has to be "
            f"{BEYOND[self.side]} {self.limit:g}.",
            ENDINGS[verdict],
        ]
        return Finding(verdict, " ".join(sentences), _surer(verdict, rows, self.row))


@dataclass(frozen=True, config=STRICT)
class Exceeds:
    """A measure of single runs is above a limit in at least one run of a row: what can happen.

    That it did not happen says little: it is contradicted by CALM_RUNS runs, of which none is without the number (as
    those that diverged are).
    """

    name: Literal["exceeds"]
    measure: MeasureOfRuns
    row: Selector
    limit: Limit

    def decide(self, rows: Rows) -> Finding:
        """Compare the run with the largest value with the limit."""
        known, gaps = rows.look_up([self.row], self.measure, num_seeds=1)
        if gaps:
            return _missing(gaps)
        (row,) = known
        evidence = (
            f"{rows.wording.code(self.measure)}: the largest of a run of {rows.wording.name(row.label)} is "
            f"{row.worst:.3g} ({row.seeds}); one run has to be above {self.limit:g}."
        )
        if row.worst > self.limit:
            return Finding("supported", f"{evidence} This one is.")
        if row.estimate.num_seeds == row.num_runs >= CALM_RUNS:
            return Finding("contradicted", f"{evidence} None is.")
        luck = f"None is, which fewer than {CALM_RUNS} runs, all of them with a number, can be by luck."
        return Finding("undecided", f"{evidence} {luck}", (rows.to_have(CALM_RUNS, self.row),))


Rule = Annotated[Difference | Level | Exceeds, Field(discriminator="name")]


def _minus(left: Known, right: Known) -> Estimate:
    """Return the difference of two means with the sum of their spreads."""
    one, other = left.estimate, right.estimate
    spread = (one.spread or 0.0) + (other.spread or 0.0)
    return Estimate(one.mean - other.mean, spread, min(one.num_seeds, other.num_seeds))


def _minus_by_seed(left: Known, right: Known) -> Estimate:
    """Return the mean of the differences of rows with the same seeds, with √2 times their standard deviation."""
    mean = estimate([value - right.by_seed[seed] for seed, value in left.by_seed.items()])
    return dataclasses.replace(mean, spread=math.sqrt(2) * (mean.spread or 0.0))


def _side_of(value: Estimate, limit: float, side: Side) -> Verdict:
    """Return where the whole interval lies: beyond the limit, short of it, or neither."""
    excess, spread = SIGNS[side] * (value.mean - limit), value.spread or 0.0
    if excess > spread:
        return "supported"
    return "contradicted" if excess < -spread else "undecided"


def _written(row: Known, decimals: int, rows: Rows) -> str:
    return f"{rows.wording.name(row.label)} {write_estimate(row.estimate, decimals)} ({row.seeds})"


def _surer(verdict: Verdict, rows: Rows, *selectors: Selector) -> tuple[str, ...]:
    return (rows.to_be_surer(selectors),) if verdict == "undecided" else ()
