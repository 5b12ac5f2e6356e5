"""Opens sources as the data stage does, and measures what that costs, for the tests of sources."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data.items import Item, Pixels, Rejected, Rule
from pipeline.data.sources import open_source

RULE = Rule(64)


def found(spec: object) -> list[Item]:
    """Walk a source; its count has to be true."""
    source = open_source(str(spec))
    items = list(source.items())
    assert source.count() == len(items)
    return items


def items(spec: object) -> dict[str, Item]:
    return {item.name: item for item in found(spec)}


def loaded(item: Item, rule: Rule = RULE) -> Pixels:
    return item.load(rule).pixels


def rejection(item: Item) -> Rejected:
    with pytest.raises(Rejected) as rejected:
        item.load(RULE)
    return rejected.value


def contents(spec: object) -> list[bytes]:
    """Return the canonical pixels in an order of their own: two sources of the same images are equal."""
    return sorted(loaded(item).tobytes() for item in found(spec))


WALK = """
import re, sys
from pathlib import Path
from pipeline.data.items import Rejected, Rule
from pipeline.data.sources import open_source
from gan.errors import UserError

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before, verdicts = peak(), []
try:
    for item in open_source(sys.argv[1]).items():
        try:
            item.load(Rule(64))
            verdicts.append("ok")
        except Rejected as rejected:
            verdicts.append(rejected.kind)
except UserError as error:
    verdicts.append(str(error))
print(round(peak() - before), *verdicts[-3:], len(verdicts), sep="\\n")
"""


def peak_of(spec: object) -> tuple[int, list[str]]:
    """Load a whole source in a process of its own: return by how many MiB its memory grew and the last verdicts."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process's memory is read from /proc")
    command = [sys.executable, "-c", WALK, str(spec)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return int(lines[0]), lines[1:]
