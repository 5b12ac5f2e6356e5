"""The protocol of a measurement: everything that its numbers depend on, in words, with a short hash.

Rows share a table exactly where their hashes are equal.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from pipeline import __version__
from pipeline.data.dataset import Dataset
from pipeline.data.halves import SPLIT_SEED
from pipeline.metrics.extractors import Extractor
from pipeline.metrics.measures import methods

SOFTWARE = ("torch", "torchvision", "timm", "torch-fidelity", "numpy")


def protocol_of(
    dataset: Dataset, network: Extractor, *, num_reference: int, num_samples: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Return the protocol of measuring num_samples images of each sampling seed against num_reference images."""
    return {
        "dataset": dataset.name,
        "dataset_digest": dataset.digest,
        "reference": f"reference half of the training images (split seed {SPLIT_SEED})",
        "num_reference": num_reference,
        "num_held_out": len(dataset.held_out),
        "num_samples": num_samples,
        "sampling_seeds": ", ".join(map(str, seeds)),
        "generator_mode": "eval",
        "feature_space": network.name,
        "quantisation": "clamp to [-1, 1], round((x + 1) * 127.5), uint8, no file in between",
        **network.protocol,
        **{f"method_{kind}": method for kind, method in methods().items()},
        "software": ", ".join([f"gan-benchmark {__version__}", *(f"{name} {version(name)}" for name in SOFTWARE)]),
    }


def hash_of(protocol: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that stand for a protocol."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]
