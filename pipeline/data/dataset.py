"""The canonical dataset: what every later stage reads, whatever the images came from."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan.errors import UserError

FORMAT_VERSION = 1
IMAGES = "images.npy"
MANIFEST = "manifest.json"
CONTACT_SHEET = "contact_sheet.png"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared dataset.

    images: what is trained on: read-only memory map, uint8 [N, H, W, 3], RGB, 0 to 255, in an order that depends on
    content alone. held_out: images in the same form that no training sees, none unless asked for.
    digest: sha256 (hex) of shape and pixels, see content_digest, and of where the held-out part begins if there is one.
    manifest: what is known about it: sources, licence, rule, counts, rejected files, versions.
    """

    name: str
    directory: Path
    images: NDArray[np.uint8]
    held_out: NDArray[np.uint8]
    digest: str
    manifest: Mapping[str, Any]


def load_dataset(name: str, root: Path) -> Dataset:
    """Open root/name without reading its pixels. UserError if it is not prepared or damaged."""
    directory = root / name
    if not (directory / MANIFEST).is_file():
        raise UserError(_not_prepared(name, root))
    manifest = _read_manifest(directory)
    try:
        images = np.lib.format.open_memmap(directory / IMAGES, mode="r")
    except (OSError, ValueError) as error:
        raise _damaged(directory, f"{IMAGES} cannot be opened ({error})") from error
    size = manifest["image_size"]
    expected = (manifest["num_images"], size, size, 3)
    if images.shape != expected or images.dtype != np.uint8 or not images.flags.c_contiguous:
        found = f"{images.dtype} {list(images.shape)}"
        raise _damaged(directory, f"{IMAGES} holds {found}, {MANIFEST} says uint8 {list(expected)}")
    num_training = len(images) - manifest["num_held_out"]
    if not 0 <= num_training <= len(images):
        raise _damaged(directory, f"{MANIFEST} holds {manifest['num_held_out']} of {len(images)} images out")
    digest = split_digest(manifest["digest"], manifest["num_held_out"])
    return Dataset(name, directory, images[:num_training], images[num_training:], digest, manifest)


def split_digest(digest: str, num_held_out: int) -> str:
    """Return the digest of a dataset whose last so many images are held out: of its pixels alone where none is."""
    return hashlib.sha256(f"{digest},{num_held_out}".encode()).hexdigest() if num_held_out else digest


def content_digest(images: NDArray[np.uint8]) -> str:
    """Hash uint8 [N, H, W, 3]: sha256 (hex) of the line "N,H,W,3" and the pixels in C order."""
    digest = start_digest(images.shape)
    for block in blocks(len(images)):
        digest.update(np.ascontiguousarray(images[block]).data)
    return digest.hexdigest()


def start_digest(shape: tuple[int, ...]) -> "hashlib._Hash":
    """Begin a content digest: the pixels follow."""
    return hashlib.sha256((",".join(map(str, shape)) + "\n").encode())


def blocks(num_images: int, block_size: int = 512) -> Iterator[slice]:
    """Cut num_images into slices, so that a pass over a big array keeps little of it in memory."""
    for start in range(0, num_images, block_size):
        yield slice(start, min(start + block_size, num_images))


def contact_sheet(images: NDArray[np.uint8], columns: int = 16, rows: int = 8) -> Image.Image:
    """Tile the first columns x rows of uint8 [N, H, W, 3], N > 0, left to right; unused cells are white."""
    shown = np.asarray(images[: columns * rows])
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    height, width = shown.shape[1:3]
    cells = np.full((rows * columns, height, width, 3), 255, np.uint8)
    cells[: len(shown)] = shown
    sheet = cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return Image.fromarray(sheet.reshape(rows * height, columns * width, 3))


def prepared_names(root: Path) -> list[str]:
    """Name the datasets below `root`."""
    return sorted(path.parent.name for path in root.glob(f"[!.]*/{MANIFEST}"))


def _not_prepared(name: str, root: Path) -> str:
    names = prepared_names(root)
    prepared = f"prepared there: {', '.join(names)}" if names else "none is prepared there"
    remedy = "pipeline prepare" if name == "avatars" else f"pipeline prepare --source PATH --name {name}"
    return f"dataset '{name}' is not prepared in '{root}' ({prepared}). Run `{remedy}` first."


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(directory, f"{MANIFEST} cannot be read ({error})") from error
    if isinstance(manifest, dict):
        manifest.setdefault("num_held_out", 0)  # datasets of a version that could not hold any out
    kinds = {"format": int, "digest": str, "num_images": int, "num_held_out": int, "image_size": int, "request": dict}
    wrong = [
        key for key, kind in kinds.items() if not isinstance(manifest, dict) or type(manifest.get(key)) is not kind
    ]
    if wrong:
        raise _damaged(directory, f"{MANIFEST} lacks {', '.join(wrong)}")
    if manifest["format"] != FORMAT_VERSION:
        version = manifest["format"]
        raise UserError(
            f"{directory / MANIFEST}: format {version} is not the {FORMAT_VERSION} that this version reads. "
            "Prepare it under another name, or delete the folder and prepare it again."
        )
    return manifest  # type: ignore[no-any-return]


def _damaged(directory: Path, what: str) -> UserError:
    return UserError(f"dataset '{directory}' is damaged: {what}. Delete that folder and prepare it again.")
