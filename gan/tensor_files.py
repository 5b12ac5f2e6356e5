"""Tensors on disk: written so that a reader never sees half of them, read so that nothing in them is run."""

import io
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gan.files import write_bytes_atomic


def write_tensors_atomic(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values, atomically, for `read_tensors`."""
    buffer = io.BytesIO()  # torch's own writer says "unexpected pos" where the disk is full
    torch.save(dict(content), buffer)
    write_bytes_atomic(path, buffer.getbuffer())


def read_tensors(path: Path) -> Any:
    """Read what `write_tensors_atomic` wrote, onto the CPU. Nothing is unpickled but tensors and plain values.

    Raises FileNotFoundError, and exceptions of many types for what this project did not write. torch writes no member
    compressed and none overlaps another: what is read is as large as the file, however it was made.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("a member is compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("the members are larger than the file")
    with warnings.catch_warnings(action="ignore"):  # of another pickle protocol than torch's: refused or read
        return torch.load(path, map_location="cpu", weights_only=True)
