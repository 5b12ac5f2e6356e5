"""Writing files so that a reader never sees half of one, and saying in one line why a write failed."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gan.errors import UserError

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
    killed process leaves its hidden temporary file). The temporary file keeps the suffix of `path`, so that writers
    that choose a format by suffix work. Raises OSError as it comes: see storage_errors.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}{path.suffix}")
    try:
        write(temporary)
        fsync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


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
