"""Writing tensors so that a reader never sees half of them."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gan.files import write_bytes_atomic


def write_tensors_atomic(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values, atomically, for `torch.load(weights_only=True)`."""
    buffer = io.BytesIO()  # torch's own writer says "unexpected pos" where the disk is full
    torch.save(dict(content), buffer)
    write_bytes_atomic(path, buffer.getbuffer())
