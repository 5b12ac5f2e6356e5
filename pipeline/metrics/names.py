"""What metrics are called and how they are to be read. One entry of KINDS is one number."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

PUBLISHED = {"fd": "fid", "kd": "kid", "fd_infinity": "fid_infinity", "is": "inception_score"}
PUBLISHED_EXTRACTOR = "inception"


@dataclass(frozen=True)
class Kind:
    """How to read a number.

    short: header of its column. better: which direction is, if any. scale: what tables multiply it by. column_of: for
    which checkpoints it is a column of the main table; all numbers of both stand in a second one. aligned: whether
    all cells of a column have equally many decimals.
    """

    short: str
    title: str
    better: Literal["lower", "higher", ""]
    scale: float = 1.0
    column_of: Collection[str] = ()
    aligned: bool = False


BEST_PREFIX = "best_"  # of the numbers of the generator that was best during training
LAST, BOTH = ("last",), ("last", "best")
KINDS: Mapping[str, Kind] = {
    "fd": Kind("FD", "Frechet distance of the features' Gaussians", "lower", column_of=BOTH, aligned=True),
    "kd": Kind("KD", "kernel distance, the unbiased squared MMD", "lower", scale=1000, column_of=LAST),
    "fd_infinity": Kind(
        "FD∞", "Frechet distance extrapolated to infinitely many generated images", "lower", aligned=True
    ),
    "precision": Kind(
        "precision", "share of generated images inside the real ones' manifold", "higher", column_of=LAST
    ),
    "recall": Kind("recall", "share of real images inside the generated ones' manifold", "higher", column_of=LAST),
    "density": Kind(
        "density", "in how many real neighbourhoods a generated image lies, 1 where they are alike", "higher"
    ),
    "coverage": Kind("coverage", "share of real images that have a generated one in their neighbourhood", "higher"),
    "is": Kind("IS", "Inception score: how sure and how varied a classifier's answers are", "higher"),
    "memorised": Kind(
        "memorised", "share of pairs in which the image is nearer to the reference than an unseen real one", ""
    ),
    "authentic": Kind(
        "authentic", "share of images that are no closer to a reference image than another reference image is", ""
    ),
}


def metric_name(kind: str, extractor: str) -> str:
    """Return the name of a number in a feature space, such as fd_inception768.

    Only the numbers of FID's own features (Inception-v3, 2048) bear the names of the literature.
    """
    if extractor == PUBLISHED_EXTRACTOR and kind in PUBLISHED:
        return PUBLISHED[kind]
    return f"{kind}_{extractor}"


def header_of(name: str) -> str:
    """Return a metric's name as a column of a table that states the feature space: FD, or FID where it is that."""
    kind = kind_of(name)
    if kind is None:
        return name
    short = KINDS[kind].short
    return short.replace("FD", "FID").replace("KD", "KID") if name == PUBLISHED.get(kind) else short


def kind_of(name: str) -> str | None:
    """Return the key in KINDS of a metric's name, or None for one that is not ours."""
    for kind, published in PUBLISHED.items():
        if name == published:
            return kind
    matching = [kind for kind in KINDS if name.startswith(f"{kind}_")]
    return max(matching, key=len, default=None)
