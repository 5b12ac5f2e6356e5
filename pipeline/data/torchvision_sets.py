"""Published datasets through torchvision, downloaded if need be.

Some of them are pickles. torchvision unpickles only files whose published checksum matches; that check stays on, and
sets without such a check are not in the table.
"""

import contextlib
import difflib
import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gan.errors import UserError
from pipeline.data.arrays import array_item
from pipeline.data.decoding import decode_file
from pipeline.data.items import Item, Pixels, Source
from pipeline.data.members import shown_name
from pipeline.data.specs import Spec, parse_spec

KIND = "torchvision"
OPTIONS = ("split", "root")


@dataclass(frozen=True)
class Published:
    """One published dataset.

    splits: name -> arguments of the class in torchvision.datasets; the first is the default.
    axes: make an image, as it lies in the attribute `data`, [H, W, C] or [H, W]. None: the set is files, not an array.
    url: where its terms are.
    """

    splits: Mapping[str, Mapping[str, Any]]
    axes: tuple[int, ...] | None
    url: str


def _splits(*names: str) -> Mapping[str, Mapping[str, Any]]:
    return {name: {"split": name} for name in names}


_TRAIN_TEST: Mapping[str, Mapping[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_SVHN = _splits("train", "test", "extra")
_STL10 = _splits("train", "test", "unlabeled", "train+unlabeled")
_CHW, _HWC, _HW = (1, 2, 0), (0, 1, 2), (0, 1)

# A new set: one line. Its class in torchvision takes root and download, and checks what it unpickles.
PUBLISHED: Mapping[str, Published] = {
    "CIFAR10": Published(_TRAIN_TEST, _HWC, "https://www.cs.toronto.edu/~kriz/cifar.html"),
    "CIFAR100": Published(_TRAIN_TEST, _HWC, "https://www.cs.toronto.edu/~kriz/cifar.html"),
    "MNIST": Published(_TRAIN_TEST, _HW, "http://yann.lecun.com/exdb/mnist/"),
    "FashionMNIST": Published(_TRAIN_TEST, _HW, "https://github.com/zalandoresearch/fashion-mnist"),
    "KMNIST": Published(_TRAIN_TEST, _HW, "http://codh.rois.ac.jp/kmnist/"),
    "SVHN": Published(_SVHN, _CHW, "http://ufldl.stanford.edu/housenumbers/"),
    "STL10": Published(_STL10, _CHW, "https://cs.stanford.edu/~acoates/stl10/"),
    "CelebA": Published(
        _splits("train", "valid", "test", "all"), None, "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    ),
}


def open_torchvision(spec: str) -> Source | None:
    """Give the images of a published dataset, or None if `spec` does not begin with "torchvision:".

    Options: split (default: train) and root, the folder torchvision keeps the files in (default: torch's cache). Files
    that are missing or not as published are downloaded.
    """
    parsed = parse_spec(spec, KIND, OPTIONS)
    if parsed is None:
        return None
    published = _published(parsed)
    split = parsed.options.get("split", next(iter(published.splits)))
    if split not in published.splits:
        known = ", ".join(published.splits)
        raise UserError(f"--source: '{spec}': split must be one of {known}, got '{split}'. Choose one of them.")
    dataset = _load(parsed, published.splits[split])
    files = [] if published.axes else _files(dataset)
    images = np.asarray(dataset.data) if published.axes else ()
    num_images = len(files) or len(images)
    return Source(
        spec=spec,
        kind=KIND,
        default_name=parsed.what if split == "train" else f"{parsed.what}-{split}",
        fingerprint={"kind": KIND, "name": parsed.what, "split": split, "content": _digest(images, files)},
        count=lambda: num_images,
        items=lambda: _file_items(files) if files else _array_items(images, published.axes, split),
        default_num_images=None,
        licence={"work_url": published.url},
    )


def default_root() -> Path:
    """Return where torchvision's datasets are kept: in torch's own cache, which TORCH_HOME and XDG_CACHE_HOME move."""
    import torch.hub

    return Path(torch.hub.get_dir()).parent / "datasets"


def _published(spec: Spec) -> Published:
    if spec.what in PUBLISHED:
        return PUBLISHED[spec.what]
    names = {name.lower(): name for name in PUBLISHED}
    close = difflib.get_close_matches(spec.what.lower(), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{names[close[0]]}'?" if close else ""
    raise UserError(f"--source: '{spec.text}': {KIND}: must be one of {', '.join(PUBLISHED)}, got '{spec.what}'.{hint}")


def _load(spec: Spec, arguments: Mapping[str, Any]) -> Any:
    root = Path(spec.options["root"]) if "root" in spec.options else default_root()
    _refuse_legacy(spec, root)
    make = getattr(importlib.import_module("torchvision.datasets"), spec.what)  # a name of the table
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return make(root=os.fspath(root), download=True, **arguments)
    except Exception as error:  # the network, damaged files: torchvision raises nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"--source: '{spec.text}': not complete in '{root}', and the download failed: {reason}. "
            "Check the connection, or copy the published files there (option root=FOLDER names another folder)."
        ) from error


def _refuse_legacy(spec: Spec, root: Path) -> None:
    """Refuse the pickles that old torchvisions made of MNIST and its like: nothing was published to check them by."""
    processed = root / spec.what / "processed"
    if processed.exists():
        raise UserError(
            f"--source: '{spec.text}': '{processed}' holds pickles of an old torchvision, which are not read. "
            "Delete that folder."
        )


def _digest(images: Iterable[Pixels], files: Sequence[Path]) -> str:
    """Return a sha256 (hex) of the pixels or of names, sizes and times of change: torchvision does not check all."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.tobytes())
    for path in files:
        status = path.stat() if path.exists() else None
        digest.update(f"{path.name} {status and (status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


def _array_items(images: Iterable[Pixels], axes: tuple[int, ...] | None, split: str) -> Iterator[Item]:
    for index, image in enumerate(images):
        yield array_item(f"{split}[{index}]", np.ascontiguousarray(image.transpose(axes)))


def _files(dataset: Any) -> list[Path]:
    folder = Path(dataset.root, dataset.base_folder, "img_align_celeba")
    return [folder / name for name in dataset.filename]


def _file_items(files: list[Path]) -> Iterator[Item]:
    for path in files:
        yield Item(shown_name(path.name), functools.partial(decode_file, path))
