"""What a report on a suite says of it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Suite:
    """A suite on a dataset, and what there is of it.

    run_ids: one for each variant and seed. missing: those that have no training that ended, as variant and seed.
    claims: a file of its own claims. precision: the number format that all of them have, None where they differ.
    """

    given: str
    title: str
    data: str
    run_ids: Sequence[str]
    missing: Sequence[str]
    num_trainings: int
    claims: Path | None = None
    precision: str | None = None

    @property
    def name(self) -> str:
        """Its file's, without ending."""
        return Path(self.given).stem

    @property
    def options(self) -> list[str]:
        """The options that find it again."""
        return ["--suite", self.given, "--data", self.data]

    @property
    def run_command(self) -> str:
        """The command that trains and measures what is left of it."""
        precision = ["--precision", self.precision] if self.precision else []  # "auto" may be another one elsewhere
        return shlex.join(["pipeline", "run", self.given, "--data", self.data, *precision])
