"""The table of data sources: how the text after --source becomes images."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gan.errors import UserError
from pipeline.data import avatars, hub, torchvision_sets
from pipeline.data.archives import open_archive
from pipeline.data.arrays import open_npy, open_npz
from pipeline.data.avatars import open_avatars
from pipeline.data.folders import open_folder
from pipeline.data.hub import open_hub
from pipeline.data.items import Source
from pipeline.data.torchvision_sets import PUBLISHED, open_torchvision


@dataclass(frozen=True)
class SourceKind:
    """One kind of source.

    form: what the user writes; capitals stand for something. meaning: in words. open: None if a text is not its form.
    """

    form: str
    meaning: str
    open: Callable[[str], Source | None]


# Asked in this order; the first that knows the text answers. A new kind of source: one function and one line here.
SOURCES = (
    SourceKind(avatars.NAME, "cartoon faces, drawn here; no download", open_avatars),
    SourceKind(
        f"{hub.KIND}:OWNER/NAME",
        "a dataset of the Hugging Face Hub, a local folder or .parquet file read by `datasets`; "
        f"options {', '.join(hub.OPTIONS)}",
        open_hub,
    ),
    SourceKind(
        f"{torchvision_sets.KIND}:NAME",
        f"{', '.join(PUBLISHED)}, downloaded if need be; options {', '.join(torchvision_sets.OPTIONS)}",
        open_torchvision,
    ),
    SourceKind("npy:FILE", "an array of images, uint8", open_npy),
    SourceKind("npz:FILE", "an array of images, uint8; option key", open_npz),
    SourceKind("FOLDER", "all image files in it and below", open_folder),
    SourceKind("ARCHIVE", "a zip, tar (.gz, .bz2, .xz, .zst) or 7z file", open_archive),
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+-]+):")  # two letters at least: C: is a drive


def open_source(spec: str) -> Source:
    """Find the source that `spec` names. UserError if there is none; nothing is decoded yet."""
    if not spec.strip():
        raise UserError("--source: is empty. Give a path or a built-in source.")
    if "\0" in spec:
        raise UserError(f"--source: '{spec}' holds a NUL, which no path can. Give a path or a built-in source.")
    try:
        for kind in SOURCES:
            source = kind.open(spec)
            if source is not None:
                return source
        exists = Path(spec).exists()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise UserError(f"--source: '{spec}' cannot be read: {error.strerror}. Give another path.") from error
    forms = ", ".join(kind.form for kind in SOURCES)
    if exists:
        raise UserError(f"--source: '{spec}' is a file, but not a readable archive. Give one of: {forms}.")
    scheme = _SCHEME.match(spec)
    if scheme:
        known = [kind.form.partition(":")[0] for kind in SOURCES if ":" in kind.form]
        close = difflib.get_close_matches(scheme[1].lower(), known, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}:'?" if close else ""
        raise UserError(f"--source: '{spec}': there is no kind '{scheme[1]}:'. Give one of: {forms}.{hint}")
    raise UserError(f"--source: '{spec}' does not exist. Give one of: {forms}.")
