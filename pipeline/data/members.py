"""What the members of all archives have in common: how they are named, judged and made items."""

import functools

from gan.errors import one_line
from pipeline.data.decoding import MAX_FILE_BYTES, decode_bytes, too_large
from pipeline.data.items import Item, Rejected, is_hidden, reject

SUFFIXES = (
    ".zip", ".7z", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst",
)  # fmt: skip
INSIDE = Rejected("archive inside", "an archive, which is not opened inside another source")
NO_FILE = Rejected("not a file", "a link, a device or a file with holes, which is not followed or filled")
LONGEST_NAME = 300  # characters


def is_archive_name(name: str) -> bool:
    """Whether a file's name says that it is an archive."""
    return name.lower().endswith((*SUFFIXES, ".rar"))


def shown_name(name: str) -> str:
    r"""Return a file's name for reports: one printable line that any JSON can hold, the middle left out if long.

    What does not print is written out: a line break is \n, a byte that is no UTF-8 (surrogateescape) \udcff.
    """
    line = one_line(name)
    return line if len(line) <= LONGEST_NAME else f"{line[:200]}[...]{line[-90:]}"


def refusal(name: str, num_bytes: int, is_file: bool) -> Rejected | None:
    """Judge a member by its header alone, None if its content may be read: then it is no bigger than the limit."""
    if not is_file:
        return NO_FILE
    if is_archive_name(name):
        return INSIDE
    return too_large(num_bytes) if num_bytes > MAX_FILE_BYTES else None


def is_silent(name: str, is_folder: bool) -> bool:
    """Whether a member is passed over without a word: folders and what belongs to the operating system."""
    return is_folder or is_hidden(name)


def content_item(name: str, data: bytes) -> Item:
    """Make a member whose content was read an item."""
    return Item(name=shown_name(name), load=functools.partial(decode_bytes, data), num_bytes=len(data))


def rejected_item(name: str, verdict: Rejected) -> Item:
    """Make a member that is not read an item, so that it is counted and reported."""
    return Item(name=shown_name(name), load=functools.partial(reject, verdict.kind, verdict.reason))
