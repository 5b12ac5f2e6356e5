"""A folder of image files as a source: walked, never listed as a whole, so that a million files cost little memory."""

import functools
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gan.errors import UserError
from pipeline.data.decoding import decode_file
from pipeline.data.items import Item, Rejected, Source, is_hidden, reject
from pipeline.data.members import INSIDE, is_archive_name, shown_name


@dataclass(frozen=True)
class _File:
    name: str  # relative to the folder, with forward slashes
    path: str
    num_bytes: int
    mtime_ns: int
    problem: Rejected | None


def open_folder(spec: str) -> Source | None:
    """Give the files below the folder `spec`, in the order of their names, or None if it is no folder.

    Links to files are followed, links to folders are not. Hidden files are skipped without a word; everything else is
    an item, and is rejected later if it is no image. The fingerprint holds names, sizes and times of change, not the
    folder's own place: moving it changes nothing. Names are compared as bytes: the locale changes nothing.
    """
    folder = Path(spec)
    if not folder.is_dir():
        return None
    num_files, listing = _take_stock(folder)
    return Source(
        spec=spec,
        kind="folder",
        default_name=folder.resolve().name,
        fingerprint={"kind": "folder", "num_files": num_files, "listing_sha256": listing},
        count=lambda: num_files,
        items=lambda: _items(folder),
        default_num_images=None,
        licence={},
    )


def _take_stock(folder: Path) -> tuple[int, str]:
    """Return the number of files and a sha256 (hex) of their names, sizes and times of change."""
    num_files = 0
    digest = hashlib.sha256()
    for file in _walk(folder):
        num_files += 1
        digest.update(json.dumps([file.name, file.num_bytes, file.mtime_ns]).encode())
    return num_files, digest.hexdigest()


def _items(folder: Path) -> Iterator[Item]:
    for file in _walk(folder):
        if file.problem is None:
            yield Item(name=shown_name(file.name), load=functools.partial(decode_file, Path(file.path)))
        else:
            load = functools.partial(reject, file.problem.kind, file.problem.reason)
            yield Item(name=shown_name(file.name), load=load)


def _walk(folder: Path) -> Iterator[_File]:
    """Give all files in the order of their full names. In memory: the names of one folder and of those above it."""
    pending = [_sorted_names(os.fspath(folder))]  # a stack, since folders can be nested deeper than Python recurses
    places = [("", os.fspath(folder))]
    while pending:
        entry = next(pending[-1], None)
        prefix, place = places[-1]
        if entry is None:
            pending.pop()
            places.pop()
            continue
        name, is_folder = entry
        path = os.path.join(place, name)  # noqa: PTH118 - Path costs three times as much
        relative = prefix + _portable(name)
        if is_folder:
            pending.append(_sorted_names(path))
            places.append((relative + "/", path))
        else:
            yield _describe(path, relative)


def _sorted_names(folder: str) -> Iterator[tuple[str, bool]]:
    """List (name, whether it is a folder and no link) of all that is not hidden."""
    try:
        with os.scandir(folder) as entries:
            found = [
                (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not is_hidden(entry.name)
            ]
    except OSError as error:
        raise UserError(f"--source: cannot list '{folder}': {error.strerror}. Allow reading it.") from error
    # A folder's slash counts, so that the order is that of full names.
    found.sort(key=lambda entry: os.fsencode(entry[0]) + b"/" * entry[1])
    return iter(found)


def _portable(name: str) -> str:
    """Decode the name's bytes as UTF-8 whatever the locale says."""
    return os.fsencode(name).decode("utf-8", "surrogateescape")


def _describe(path: str, name: str) -> _File:
    try:
        status = os.stat(path)  # noqa: PTH116 - see _walk
    except OSError as error:  # a broken link, say
        return _File(name, path, 0, 0, Rejected("unreadable", f"cannot be read: {error.strerror}"))
    problem = None
    if stat.S_ISDIR(status.st_mode):
        problem = Rejected("not a file", "a link to a folder, which is not followed")
    elif not stat.S_ISREG(status.st_mode):
        problem = Rejected("not a file", "not a regular file")
    elif is_archive_name(name):
        problem = INSIDE
    return _File(name, path, status.st_size, status.st_mtime_ns, problem)
