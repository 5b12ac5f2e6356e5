"""What metrics are called and how they are to be read. One entry of KINDS is one number."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

PUBLISHED = {"fd": "fid", "kd": "kid", "fd_infinity": "fid_infinity", "is": "inception_score"}
PUBLISHED_EXTRACTOR = "inception"


@dataclass(frozen=True)
class Kind:
    """How to read a number.

    better: which direction is, if any. scale: what tables multiply it by. headline: whether it is a column of the main
    table.
    """

    title: str
    better: Literal["lower", "higher", ""]
    scale: float = 1.0
    headline: bool = False


KINDS: Mapping[str, Kind] = {
    "fd": Kind("Frechet distance", "lower", headline=True),
    "kd": Kind("kernel distance", "lower", scale=1000, headline=True),
    "fd_infinity": Kind("Frechet distance extrapolated to infinitely many images", "lower"),
    "precision": Kind("improved precision: share of generated images inside the real ones' manifold", "higher"),
    "recall": Kind("improved recall: share of real images inside the generated ones' manifold", "higher"),
    "density": Kind("density: how many real neighbourhoods a generated image lies in", "higher"),
    "coverage": Kind("coverage: share of real images with a generated one in their neighbourhood", "higher"),
    "is": Kind("Inception score", "higher"),
    "memorised": Kind("share of generated images nearer to a training than to a held-out image (0.5: none)", ""),
    "authentic": Kind("share of generated images that are no near copy of a training image", ""),
}


def metric_name(kind: str, extractor: str) -> str:
    """Return the name of a number in a feature space, such as fd_inception768.

    Only the numbers of FID's own features (Inception-v3, 2048) bear the names of the literature.
    """
    if extractor == PUBLISHED_EXTRACTOR and kind in PUBLISHED:
        return PUBLISHED[kind]
    return f"{kind}_{extractor}"


def kind_of(name: str) -> str | None:
    """Return the key in KINDS of a metric's name, or None for one that is not ours."""
    for kind, published in PUBLISHED.items():
        if name == published:
            return kind
    matching = [kind for kind in KINDS if name.startswith(f"{kind}_")]
    return max(matching, key=len, default=None)
