"""What was found in the sources: as a table that a person can act on, and as JSON with every file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from pipeline.data.collection import Choice, Collection, Counts
from pipeline.data.findings import FINDINGS, Finding
from pipeline.data.records import slots_with
from pipeline.data.workers import Rejection

FORMAT_VERSION = 1
MOST_LISTED = 1000  # files of a kind that were only changed; those left out, and near duplicates, are listed in full
MOST_EXAMPLE = 60  # characters


@dataclass(frozen=True)
class Row:
    """A finding. done: what was done. example: the first file, and why if that says more."""

    finding: str
    num_files: int
    done: str
    remedy: str
    example: str


@dataclass(frozen=True)
class Diagnosis:
    """What was found. files: JSON values, one for each file and finding: source, name, finding, effect, reason or of.

    of: the name of the file that this one equals, or nearly equals.
    """

    counts: Counts
    rows: Sequence[Row]
    files: Sequence[Mapping[str, str]]

    @property
    def text(self) -> str:
        """Return counts and findings in lines for a terminal."""
        counts = ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in asdict(self.counts).items())
        if not self.rows:
            return f"{counts}; nothing to remark."
        frame = pd.DataFrame([asdict(row) for row in self.rows])
        frame.columns = pd.Index(["finding", "files", "what was done", "what you can do", "for example"])
        return f"{counts}.\n\n{frame.to_markdown(index=False, disable_numparse=True)}"

    def describe(self) -> dict[str, Any]:
        """Return the diagnosis as JSON."""
        return {
            "format": FORMAT_VERSION,
            "counts": asdict(self.counts),
            "findings": [asdict(row) for row in self.rows],
            "files": list(self.files),
        }


@dataclass(frozen=True)
class _Group:
    """The files of one finding: how many, the slots of those to list, and for each a reason or the slot it equals."""

    finding: str
    num_files: int
    slots: Sequence[int]
    reasons: Sequence[str] = ()
    equal_to: Sequence[int] = ()


def diagnose(collection: Collection, choice: Choice, near_removed: bool) -> Diagnosis:
    """Put together what reading and choosing found. near_removed: whether near duplicates were left out."""
    groups = sorted(_groups(collection, choice), key=lambda group: list(FINDINGS).index(group.finding))
    names = collection.scratch.names_of(slot for group in groups for slot in (*group.slots, *group.equal_to))
    rows: list[Row] = []
    files: list[Mapping[str, str]] = []
    for group in groups:
        finding = FINDINGS[group.finding]
        if group.finding == "near duplicate" and near_removed:
            finding = Finding("removed", "kept one of each", "look at them; --near-duplicates report keeps all")
        owners = collection.owners(group.slots)
        for place, (slot, owner) in enumerate(zip(group.slots, owners, strict=True)):
            entry = {"source": collection.sources[owner].spec, "name": names[slot], "finding": group.finding}
            entry["effect"] = finding.effect
            if group.reasons:
                entry["reason"] = group.reasons[place]
            if group.equal_to:
                entry["of"] = names[group.equal_to[place]]
            files.append(entry)
        example = _example(files[-len(group.slots)])
        rows.append(Row(group.finding, group.num_files, finding.done, finding.remedy, example))
    counts = [asdict(each).values() for each in collection.counts]
    return Diagnosis(Counts(*(sum(column) for column in zip(*counts, strict=True))), rows, files)


def _groups(collection: Collection, choice: Choice) -> Iterator[_Group]:
    rejected: dict[str, list[Rejection]] = {}
    for entry in collection.rejected:
        rejected.setdefault(entry.kind, []).append(entry)
    for kind, entries in rejected.items():
        yield _Group(kind, len(entries), [each.slot for each in entries], [each.reason for each in entries])
    for kind, pairs in (("duplicate", choice.duplicates), ("near duplicate", choice.near)):
        if len(pairs):
            yield _Group(kind, len(pairs), pairs[:, 0].tolist(), equal_to=pairs[:, 1].tolist())
    for kind, slots in slots_with(collection.records):
        yield _Group(kind, len(slots), slots[:MOST_LISTED].tolist())


def _example(entry: Mapping[str, str]) -> str:
    why = f" = {entry['of']}" if "of" in entry else f": {entry['reason']}" if "reason" in entry else ""
    text = f"{entry['name']}{why}"
    return text if len(text) <= MOST_EXAMPLE else f"{text[: MOST_EXAMPLE - 3]}..."
