"""Features of real images, computed once: a cache on disk keyed by everything that they depend on."""

import hashlib
import io
import json
import logging
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gan.files import write_atomic
from pipeline.metrics.extractors import Extractor, Features, extract_features

log = logging.getLogger(__name__)

_LIBRARIES = ("numpy", "timm", "torch", "torch-fidelity")
_DIGEST_BYTES = hashlib.sha256().digest_size


def reference_features(
    extractor: Extractor,
    images: NDArray[np.uint8],
    *,
    dataset_digest: str,
    indices: NDArray[np.integer[Any]],
    cache: Path,
    batch_size: int = 64,
    progress: bool = True,
) -> Features:
    """Features float32 [len(indices), D] of images[indices], in the order of indices, from the cache if it has them.

    images: the whole dataset, uint8 [N, H, W, 3] RGB (a memory map will do: ascending indices read it fastest), whose
    content dataset_digest identifies. The key holds the digest, indices, protocol of the extractor, library versions,
    kind of device and batch size, since the last bits depend on all of them. A damaged file is computed again with a
    warning; writers and readers can share the folder. A folder that cannot be written costs only a warning.
    """
    key = _key(extractor, dataset_digest, indices, batch_size)
    path = cache / f"reference-{extractor.name}-{key}.npy"
    features = _read(path, shape=(len(indices), extractor.num_features))
    if features is None:
        features = extract_features(
            extractor,
            image_batches(images, indices, batch_size),
            num_images=len(indices),
            description="real images",
            progress=progress,
        )
        _write(path, features)
    return features


def image_batches(
    images: NDArray[np.uint8], indices: NDArray[np.integer[Any]], batch_size: int = 64
) -> Iterator[Tensor]:
    """images[indices] of uint8 [N, H, W, 3] as uint8 [B, 3, H, W] tensors."""
    for start in range(0, len(indices), batch_size):
        yield torch.from_numpy(images[indices[start : start + batch_size]]).permute(0, 3, 1, 2)


def _key(extractor: Extractor, dataset_digest: str, indices: NDArray[np.integer[Any]], batch_size: int) -> str:
    parts = {
        "dataset": dataset_digest,
        "indices": hashlib.sha256(np.ascontiguousarray(indices, dtype="<i8").tobytes()).hexdigest(),
        "extractor": {"name": extractor.name, **extractor.protocol},
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        "device": extractor.device.type,
        "batch_size": batch_size,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path, shape: tuple[int, int]) -> Features | None:
    """Read the features of a cache file, or return None if the file is missing or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s: cannot be read (%s); computing the features again", path, error.strerror)
        return None
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() == digest:
        features = np.load(io.BytesIO(body), allow_pickle=False)
        if features.shape == shape and features.dtype == np.float32 and np.isfinite(features).all():
            return np.asarray(features, dtype=np.float32)
    log.warning("%s: damaged cache file; computing the features again", path)
    return None


def _write(path: Path, features: Features) -> None:
    """Write a .npy file with the sha256 of all before it at its end, which np.load does not mind."""
    body = io.BytesIO()
    np.save(body, features, allow_pickle=False)
    content = body.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda temporary: _write_bytes(temporary, content + hashlib.sha256(content).digest()))
    except OSError as error:
        log.warning("%s: cannot be written (%s); the next evaluation computes it again", path, error.strerror)


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
