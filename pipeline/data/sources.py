"""The table of data sources: how the text after --source becomes images."""

from collections.abc import Callable
from pathlib import Path

from gan.errors import UserError
from pipeline.data import avatars
from pipeline.data.archives import open_archive
from pipeline.data.avatars import open_avatars
from pipeline.data.folders import open_folder
from pipeline.data.items import Source

# Asked in this order; the first that knows the text answers. A new kind of source: one function and one line here.
SOURCES: dict[str, Callable[[str], Source | None]] = {
    f"a built-in source ({avatars.NAME})": open_avatars,
    "a folder": open_folder,
    "a zip or tar archive": open_archive,
}


def open_source(spec: str) -> Source:
    """Find the source that `spec` names. UserError if there is none; nothing is decoded yet."""
    if not spec.strip():
        raise UserError("--source: is empty. Give a path or a built-in source.")
    for opener in SOURCES.values():
        source = opener(spec)
        if source is not None:
            return source
    kinds = ", ".join(SOURCES)
    if not Path(spec).exists():
        raise UserError(f"--source: '{spec}' does not exist. Give one of: {kinds}.")
    raise UserError(f"--source: '{spec}' is a file, but not a readable archive. Give one of: {kinds}.")
