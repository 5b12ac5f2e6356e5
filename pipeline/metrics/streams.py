"""From images to features block by block, so that a long evaluation that was stopped goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from pipeline.metrics.extractors import Extractor, Features, extract_features
from pipeline.metrics.feature_files import libraries, read_features, write_features
from pipeline.progress import progress_bar

BLOCK = 2048  # images: a multiple of the samples' chunk; on two slow cores Inception takes four minutes for them

Images = Callable[[int, int], Iterable[Tensor]]
"""From the first index and the last + 1 to these images, uint8 [B, 3, H, W] in batches."""


def stream_features(
    extractor: Extractor,
    images: Images,
    *,
    num_images: int,
    identity: Mapping[str, Any],
    cache: Path,
    description: str,
    progress: bool,
) -> Features:
    """Return the features, float32 [num_images, D], of images that exist only while they are measured.

    identity: what the images depend on, as JSON. Blocks that are done lie in the cache until all are: the same call
    after an interruption reads them. One block needs no file.
    """
    if num_images <= BLOCK:
        with progress_bar(total=num_images, unit=" images", description=description, show=progress) as bar:
            return _block(extractor, images, 0, num_images, description, bar)
    folder = cache / f"partial-{_key(extractor, identity, num_images)}"
    features = np.empty((num_images, extractor.num_features), dtype=np.float32)
    with progress_bar(total=num_images, unit=" images", description=description, show=progress) as bar:
        for start in range(0, num_images, BLOCK):
            stop = min(start + BLOCK, num_images)
            path = folder / f"{start:08d}.npy"
            found = read_features(path, shape=(stop - start, extractor.num_features))
            if found is not None:
                bar.initial = bar.n = stop  # neither rate nor remaining time count what was done before
            else:
                found = _block(extractor, images, start, stop, description, bar)
                write_features(path, found)
            features[start:stop] = found
    shutil.rmtree(folder, ignore_errors=True)
    return features


def _block(extractor: Extractor, images: Images, start: int, stop: int, description: str, bar: "tqdm[Any]") -> Features:
    return extract_features(
        extractor,
        _counted(images(start, stop), bar),
        num_images=stop - start,
        description=f"{description} {start} to {stop - 1}",
        progress=False,
    )


def _counted(batches: Iterable[Tensor], bar: "tqdm[Any]") -> Iterator[Tensor]:
    for batch in batches:
        yield batch
        bar.update(len(batch))


def _key(extractor: Extractor, identity: Mapping[str, Any], num_images: int) -> str:
    parts = {
        "images": dict(identity),
        "num_images": num_images,
        "extractor": {"name": extractor.name, **extractor.protocol},
        "device": extractor.device.type,
        "libraries": libraries(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
