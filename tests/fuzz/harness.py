"""What the fuzz tests share: how many inputs, what may come out, and ways to damage a text or a file.

`FUZZ_EXAMPLES=2000 python -m pytest -n0 tests/fuzz` tries so many with each test: at least 10,000 with the loaders of
YAML (seven tests), with the reader of datasets (five) and with those of checkpoints, weights and caches (five).
"""

import os
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gan.errors import LONGEST, UserError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))

fuzzed = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

Change = tuple[int, int, bytes]  # where, how many bytes go, what comes instead


def refused(act: Callable[[], object]) -> bool:
    """Return whether an input was refused, in one printable line. Anything but a UserError is a fault of the reader."""
    try:
        act()
    except UserError as error:
        message = str(error)
        assert message.isprintable(), message
        assert len(message) <= LONGEST
        return True
    return False


def changes(most: int = 4, piece: st.SearchStrategy[bytes] | None = None) -> st.SearchStrategy[list[Change]]:
    """Return ways to change bytes in a few places."""
    pieces = st.binary(max_size=4) if piece is None else piece
    lengths = st.sampled_from([0, 0, 1, 1, 2, 8, 100])
    return st.lists(st.tuples(st.integers(0, 2**20), lengths, pieces), min_size=1, max_size=most)


def changed(content: bytes, todo: list[Change]) -> bytes:
    """Return bytes changed in a few places; places beyond the end begin anew."""
    for place, gone, piece in todo:
        at = place % (len(content) + 1)
        content = content[:at] + piece + content[at + gone :]
    return content
