"""Writing files so that a reader never sees half of one, and saying in one line why a write failed."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from gan.errors import UserError

if sys.platform != "win32":
    import fcntl

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}(\.[^.]+)?")
_FULL = "free some space and run the same command again"
_DENIED = "allow writing there, or choose another folder"
_REMEDIES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f) or choose another file system",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
}


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError raised inside the block into a UserError that names `path`, what happened and the remedy."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = _REMEDIES.get(error.errno or 0, "correct that and run the same command again")
        raise UserError(f"{path}: cannot be written: {reason}; {remedy}.") from error


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it into place.

    Whatever stops it, `path` is either the old file or the whole new one, and nothing is left beside it (only a
    killed process leaves its hidden temporary file: see remove_leftovers). The temporary file keeps the suffix of
    `path`, so that writers that choose a format by suffix work. Raises OSError as it comes: see storage_errors.
    """
    with _temporaries([path]) as (temporary,):
        write(temporary)
        fsync(temporary)
        temporary.replace(path)
    fsync(path.parent)


def write_all_atomic(files: Mapping[Path, bytes]) -> None:
    """Write several files, all or none where an error (a full disk) stops it. Raises OSError as it comes."""
    with _temporaries(list(files)) as temporaries:
        for temporary, content in zip(temporaries, files.values(), strict=True):
            temporary.write_bytes(content)
            fsync(temporary)
        for temporary, path in zip(temporaries, files, strict=True):
            temporary.replace(path)
    for folder in {path.parent for path in files}:
        fsync(folder)


def remove_leftovers(directory: Path) -> None:
    """Remove the hidden temporary files of killed processes from a folder; those of living ones are locked."""
    for path in directory.glob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            with contextlib.suppress(OSError), path.open("rb") as file:
                if _lock(file):
                    path.unlink()


@contextlib.contextmanager
def _temporaries(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give a locked hidden file beside each path; those that are still there at the end are removed."""
    found: list[Path] = []
    with contextlib.ExitStack() as held:
        try:
            for path in paths:
                found.append(path.with_name(f".{path.stem}.{secrets.token_hex(8)}{path.suffix}"))
                _lock(held.enter_context(found[-1].open("wb")))
            yield found
        finally:
            for temporary in found:
                temporary.unlink(missing_ok=True)


def _lock(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed, also by the end of the process; return whether that was possible."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks
        return False
    return True


def write_text_atomic(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomic(path, lambda temporary: _write_text(temporary, text))


def write_bytes_atomic(path: Path, content: bytes | memoryview) -> None:
    """Write bytes, atomically."""
    write_atomic(path, lambda temporary: _write_bytes(temporary, content))


def write_json_atomic(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. ValueError for NaN and infinity, which JSON does not have."""
    write_text_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Ask the disk to keep a file or (for its names) a folder; file systems that cannot do it to a folder are left."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_bytes(path: Path, content: bytes | memoryview) -> None:
    path.write_bytes(content)
