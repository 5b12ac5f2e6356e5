"""Features of real images, computed once: a cache on disk keyed by everything that they depend on."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.metrics.extractors import Extractor, Features
from pipeline.metrics.feature_files import libraries, read_features, write_features
from pipeline.metrics.streams import stream_features


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
    features = read_features(path, shape=(len(indices), extractor.num_features))
    if features is None:
        features = stream_features(
            extractor,
            lambda start, stop: image_batches(images, indices[start:stop], batch_size),
            num_images=len(indices),
            identity={"reference": key},
            cache=cache,
            description="real images",
            progress=progress,
        )
        write_features(path, features)
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
        "libraries": libraries(),
        "device": extractor.device.type,
        "batch_size": batch_size,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
