"""A folder of image files as a source."""

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gan.errors import UserError
from pipeline.data.archives import is_archive_name
from pipeline.data.decoding import decode_file
from pipeline.data.items import Item, Source, is_hidden, reject


@dataclass(frozen=True)
class _File:
    name: str  # relative to the folder, with forward slashes
    path: Path
    num_bytes: int
    mtime_ns: int
    problem: str | None


def open_folder(spec: str) -> Source | None:
    """Give the files below the folder `spec`, in the order of their names, or None if it is no folder.

    Hidden files are skipped without a word; everything else is an item, and is rejected later if it is no image.
    The fingerprint holds names, sizes and times of change, not the folder's own place: moving it changes nothing.
    """
    folder = Path(spec)
    if not folder.is_dir():
        return None
    files = sorted(_walk(folder), key=lambda file: file.name)
    listing = json.dumps([(file.name, file.num_bytes, file.mtime_ns) for file in files])
    return Source(
        spec=spec,
        kind="folder",
        default_name=folder.resolve().name,
        fingerprint={
            "kind": "folder",
            "num_files": len(files),
            "listing_sha256": hashlib.sha256(listing.encode()).hexdigest(),
        },
        count=lambda: len(files),
        items=lambda: _items(files),
        default_num_images=None,
        licence={},
    )


def _walk(folder: Path) -> Iterator[_File]:
    def refuse(error: OSError) -> None:
        raise UserError(f"--source: cannot list '{error.filename}': {error.strerror}. Allow reading it.") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        for name in (*names, *folders):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if not is_hidden(relative) and (name not in folders or path.is_symlink()):
                yield _describe(path, relative)
        folders[:] = [name for name in folders if not is_hidden(name)]


def _describe(path: Path, relative: str) -> _File:
    try:
        status = path.stat()
    except OSError as error:  # a broken link, say
        return _File(relative, path, 0, 0, f"cannot be read: {error.strerror}")
    problem = None
    if path.is_dir():
        problem = "a link to a folder, which is not followed; give that folder as a --source of its own"
    elif not path.is_file():
        problem = "not a regular file"
    elif is_archive_name(path.name):
        problem = "an archive, which is not opened inside a folder; give it as a --source of its own"
    return _File(relative, path, status.st_size, status.st_mtime_ns, problem)


def _items(files: list[_File]) -> Iterator[Item]:
    for file in files:
        load = functools.partial(reject, file.problem) if file.problem else functools.partial(decode_file, file.path)
        yield Item(name=file.name, load=load)
