"""Features on disk, with a checksum: what is damaged is as if it were not there."""

import hashlib
import io
import logging
from importlib import metadata
from pathlib import Path

import numpy as np

from gan.files import remove_leftovers, write_atomic
from pipeline.metrics.extractors import Features

log = logging.getLogger(__name__)

_LIBRARIES = ("numpy", "timm", "torch", "torch-fidelity")
_DIGEST_BYTES = hashlib.sha256().digest_size


def libraries() -> dict[str, str]:
    """Return the versions that the last bits of features depend on, for the keys of files."""
    return {name: metadata.version(name) for name in _LIBRARIES}


def read_features(path: Path, shape: tuple[int, int]) -> Features | None:
    """Return the features [N, D] of a file, or None, with a warning unless it is missing, where it cannot be used."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s: cannot be read (%s); computing the features again", path, error.strerror)
        return None
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() == digest:
        try:
            features = np.load(io.BytesIO(body), allow_pickle=False)
            if features.shape == shape and features.dtype == np.float32 and np.isfinite(features).all():
                return np.asarray(features, dtype=np.float32)
        except Exception as error:  # numpy raises many types; anyone can write a file with its own checksum
            log.debug("%s: %s", path, error)
    log.warning("%s: damaged cache file; computing the features again", path)
    return None


def write_features(path: Path, features: Features) -> None:
    """Write a .npy file with the sha256 of all before it at its end, which np.load does not mind.

    A file that cannot be written costs only a warning.
    """
    body = io.BytesIO()
    np.save(body, features, allow_pickle=False)
    content = body.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        write_atomic(path, lambda temporary: _write_bytes(temporary, content + hashlib.sha256(content).digest()))
    except OSError as error:
        log.warning("%s: cannot be written (%s); the next evaluation computes it again", path, error.strerror)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
