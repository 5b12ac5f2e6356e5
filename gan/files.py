"""Atomic writes: a reader sees the old file or the new one, never half of one."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from gan.errors import UserError


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, flush it to disk and rename it to `path`.

    Raises UserError when the disk is full or the folder cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error).splitlines()[0]
        raise UserError(
            f"{path}: cannot be written ({reason}). Free some space or choose a folder that you may write to; "
            "then run the same command again: it goes on where it stopped."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
