"""Rows to decide claims from, without a store."""

from typing import Any

from pipeline.reporting.candidates import Candidate, Selector, Wording
from pipeline.reporting.claims import Claim, Judgement, judge
from pipeline.reporting.numbers import estimate
from pipeline.reporting.rules import Difference, Rule, Side
from pipeline.reporting.stability import MEASURES

A, B = Selector("a"), Selector("b")
CODE = Wording(name=lambda text: f"<{text}>", code=lambda text: f"`{text}`")


def row(variant: str, *values: float, measure: str = "fd", num_runs: int = 0, **overridden: Any) -> Candidate:
    """A row with one value for each seed from 0 on; dots in the names of fields are written as two underscores."""
    return Candidate(
        label=variant,
        variant=variant,
        overridden={key.replace("__", "."): value for key, value in overridden.items()},
        num_runs=num_runs or len(values),
        measures={measure: estimate(values)} if values else {},
        worst={measure: max(values)} if values and measure in MEASURES else {},
        by_seed={measure: {str(seed): value for seed, value in enumerate(values)}},
    )


def lower(
    margin: float = 0.0, side: Side = "lower", left: Selector = A, right: Selector = B, *, paired: bool = False
) -> Difference:
    return Difference("difference", "fd", left, side, right, margin, paired)


def decide(rule: Rule, *rows: Candidate, given_: tuple[Rule, ...] = (), wording: Wording | None = None) -> Judgement:
    claim = Claim("c", "text", rule, "unseen", given_)
    (found,) = judge([claim], rows, wording or Wording())
    return found


def words(found: Judgement) -> str:
    """The evidence, and what could still decide."""
    return " ".join([found.evidence, *found.remedies])
