"""What the reports claim: each claim is decided by a rule of a YAML file, from the rows of one protocol."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gan.errors import UserError
from gan.schema import STRICT, Name, plain_json
from pipeline.reporting.candidates import Candidate, Rows, Wording
from pipeline.reporting.rules import Finding, Rule, Verdict
from pipeline.validation import explain
from pipeline.yaml_loader import read_yaml

PLAIN = Wording()
Text = Annotated[str, Field(min_length=1, max_length=1000)]


@dataclass(frozen=True, config=STRICT)
class Claim:
    """A sentence of a report and the rule that decides it.

    unseen: what the rule cannot see, for the reader of a verdict. given: rules that have to be supported too; where one
    is not, the claim is undecided.
    """

    id: Name
    text: Text
    rule: Rule
    unseen: Text
    given: tuple[Rule, ...] = ()


@dataclass(frozen=True, config=STRICT)
class _File:
    claims: tuple[Claim, ...]


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A claim, its verdict, the numbers that it follows from or what is missing, and what could still decide it."""

    claim: Claim
    verdict: Verdict
    evidence: str
    remedies: Sequence[str] = ()


def load_claims(path: Path) -> tuple[Claim, ...]:
    """Return the claims of a YAML file.

    Raises UserError that names the file, the field, the rule, the value and the remedy.
    """
    data = read_yaml(path)
    try:
        file: _File = TypeAdapter(_File).validate_json(plain_json(data), strict=True)
    except ValidationError as error:
        raise UserError(explain(error, _File, data, str(path), {})) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}. Correct it.") from None
    if not file.claims:
        raise UserError(f"{path}: claims must hold at least one claim, got none. See experiments/claims.yaml.")
    name, count = Counter(claim.id for claim in file.claims).most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{path}: claims.id must be another one for each claim, got '{name}' {count} times. Rename one."
        )
    return file.claims


def judge(claims: Sequence[Claim], candidates: Sequence[Candidate], wording: Wording = PLAIN) -> tuple[Judgement, ...]:
    """Decide each claim from the rows of one protocol; a row under another protocol is no evidence."""
    rows = Rows(candidates, wording)
    return tuple(Judgement(claim, **vars(_find(claim, rows))) for claim in claims)


def _find(claim: Claim, rows: Rows) -> Finding:
    conditions = [rule.decide(rows) for rule in claim.given]
    if failed := [each for each in conditions if each.verdict != "supported"]:
        words: Mapping[Verdict, str] = {"contradicted": "is not met", "undecided": "is not decided"}
        evidence = " ".join(f"A condition {words[each.verdict]}. {each.evidence}" for each in failed)
        return Finding("undecided", evidence, tuple(remedy for each in failed for remedy in each.remedies))
    found = claim.rule.decide(rows)
    evidence = " ".join([*(f"Condition: {each.evidence}" for each in conditions), found.evidence])
    return Finding(found.verdict, evidence, found.remedies)
