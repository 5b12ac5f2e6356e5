"""The rows that claims are decided from: how one is selected, and what to do about one that cannot be used."""

import dataclasses
import math
import shlex
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from pydantic.dataclasses import dataclass

from gan.schema import STRICT, Name
from pipeline.identity import flatten, write_value
from pipeline.metrics.names import BEST_PREFIX, KINDS
from pipeline.reporting.numbers import Estimate, estimate
from pipeline.reporting.stability import MEASURES

PRECISION = "precision"  # field of a configuration
Markup = Callable[[str], str]
TABLE_MEASURES = (*KINDS, *(f"{BEST_PREFIX}{kind}" for kind in KINDS))
KNOWN_MEASURES = (*TABLE_MEASURES, *MEASURES)


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A row of one protocol.

    overridden: what differs from the variant's own file, by dotted field, as JSON has it. measures: by name of
    KNOWN_MEASURES, without a feature space (fd, best_fd, worst_rise, ...). worst: of those in MEASURES, the largest
    value of a single run. by_seed: of TABLE_MEASURES, the value of each training seed.
    """

    label: str
    variant: str
    overridden: Mapping[str, Any]
    num_runs: int
    measures: Mapping[str, Estimate]
    worst: Mapping[str, float]
    by_seed: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Wording:
    """How evidence is written. name, code: markup of labels, and of commands and measures.

    train, evaluate: options that these commands need for rows of this protocol, such as ("--data", "faces").
    """

    train: Sequence[str] = ()
    evaluate: Sequence[str] = ()
    name: Markup = str
    code: Markup = str


@dataclass(frozen=True, config=STRICT)
class Selector:
    """Selects the row of a variant in which exactly these fields differ from the variant's file, by dotted name.

    The number format of a row may be any unless it is one of the fields: what a file leaves to the device is the same
    experiment on each.
    """

    variant: Name
    set: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def matches(self, candidate: Candidate) -> bool:
        """Whether a candidate is this row. A group of fields may be set as one."""
        wanted = flatten(self.set)
        changed = {key: value for key, value in candidate.overridden.items() if key != PRECISION or key in wanted}
        return self.variant == candidate.variant and wanted == changed

    @property
    def title(self) -> str:
        """The row in words: more exact than a label, which leaves out what all rows have."""
        changes = " ".join(f"{key}={write_value(value)}" for key, value in self.set.items())
        return (
            f"{self.variant} with {changes}, all else as in its file" if changes else f"{self.variant} as in its file"
        )


@dataclasses.dataclass(frozen=True)
class Known:
    """A row that has a measure. worst, by_seed: as in Candidate."""

    label: str
    estimate: Estimate
    worst: float
    num_runs: int
    by_seed: Mapping[str, float]

    @property
    def seeds(self) -> str:
        """How many runs the numbers are from."""
        measured = self.estimate.num_seeds
        if measured < self.num_runs:
            return f"{measured} of {self.num_runs} runs"
        return f"{measured} seed{'' if measured == 1 else 's'}"

    def only(self, seeds: Set[str]) -> "Known":
        """Return the row of at least one of its seeds."""
        kept = {seed: self.by_seed[seed] for seed in sorted(seeds)}
        return dataclasses.replace(self, estimate=estimate(list(kept.values())), by_seed=kept)


@dataclasses.dataclass(frozen=True)
class Gap:
    """Why a row cannot be used, and what to do about it, as sentences; "" for nothing."""

    what: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of one protocol."""

    candidates: Sequence[Candidate]
    wording: Wording

    def look_up(
        self, selectors: Sequence[Selector], measure: str, *, num_seeds: int = 2
    ) -> tuple[list[Known], list[Gap]]:
        """Return the rows that have a measure of so many seeds, and for each other one why not and what to do."""
        found = [self._look_up(selector, measure, num_seeds) for selector in selectors]
        gaps = [each for each in found if isinstance(each, Gap)]
        return [each for each in found if isinstance(each, Known)], list(dict.fromkeys(gaps))

    def to_get(self, selector: Selector) -> str:
        """Say how to get two seeds of a row. What was done before is not done again."""
        first, second = (self._train(selector, seed) for seed in ("0", "1"))
        return f"Two seeds or more decide: {first}, {second}, then {self._evaluate(selector)}."

    def to_pair(self, selectors: Sequence[Selector]) -> str:
        """Say how rows come to seeds that they share."""
        commands = " and ".join(f"{self._train(each, 'N')}, {self._evaluate(each)}" for each in selectors)
        return f"Two seeds or more that both rows have decide: {commands} with the same N."

    def to_have(self, num_seeds: int, selector: Selector) -> str:
        """Say how a row comes to so many seeds."""
        return f"{num_seeds} seeds or more decide: {self._train(selector, 'N')} with each N that was not used yet."

    def to_be_surer(self, selectors: Sequence[Selector]) -> str:
        """Say what could still decide where an interval lies on both sides."""
        commands = " and ".join(dict.fromkeys(self._train(selector, "N") for selector in selectors))
        return f"More seeds make it surer, though the spread no smaller: {commands} with an N that was not used yet."

    def _look_up(self, selector: Selector, measure: str, num_seeds: int) -> Known | Gap:
        matching = [each for each in self.candidates if selector.matches(each)]
        if not matching:
            return Gap(f"There is no row of {self.wording.name(selector.title)}.", self.to_get(selector))
        if len(matching) > 1:
            return self._ambiguous(selector, matching)
        label, value = matching[0].label, matching[0].measures.get(measure)
        worst = matching[0].worst.get(measure, math.nan)
        name, code = self.wording.name(label), self.wording.code(measure)
        if value is None or value.num_seeds == 0 or (measure in MEASURES and math.isnan(worst)):
            return Gap(f"{name} has no {code}.", self._to_measure(selector, measure, matching[0]))
        if not math.isfinite(value.mean) or math.isinf(worst):
            return Gap(f"{code} of {name} is not finite in every run: there is no mean.", "Look at its runs.")
        if value.num_seeds < num_seeds or (num_seeds > 1 and value.spread is None):
            return Gap(f"{name} has {code} of one seed only, and so no spread.", self.to_get(selector))
        return Known(label, value, worst, matching[0].num_runs, matching[0].by_seed.get(measure, {}))

    def _ambiguous(self, selector: Selector, matching: Sequence[Candidate]) -> Gap:
        labels = " and ".join(self.wording.name(each.label) for each in matching)
        command, option = self.wording.code("pipeline report --run ID"), self.wording.code("--run ID")
        return Gap(
            f"{len(matching)} rows are {self.wording.name(selector.title)}: {labels}.",
            f"Report on the runs of one of them: {command}, with {option} for each run.",
        )

    def _to_measure(self, selector: Selector, measure: str, candidate: Candidate) -> str:
        last = measure.removeprefix(BEST_PREFIX)
        if measure in KINDS or (last in KINDS and last not in candidate.measures):
            return f"This measures it, where there are images enough: {self._evaluate(selector)}."
        every = self.wording.code("--evaluate-every")
        return (
            f"It comes from measurements during training, two or more (see {every}), which a finished run does not "
            f"repeat: {self._train(selector, 'N')} with an N that was not used yet, then {self._evaluate(selector)}."
        )

    def _train(self, selector: Selector, seed: str) -> str:
        changes = [part for key, value in selector.set.items() for part in ("--set", f"{key}={write_value(value)}")]
        words = ["train", "--variant", selector.variant, *self.wording.train, *changes, "--seed", seed]
        return self.wording.code(shlex.join(["pipeline", *words]))

    def _evaluate(self, selector: Selector) -> str:
        words = ["evaluate", "--variant", selector.variant, *self.wording.evaluate]
        return self.wording.code(shlex.join(["pipeline", *words]))
