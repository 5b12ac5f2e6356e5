"""The canonical dataset: what every later stage reads, whatever the images came from."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gan.errors import UserError
from pipeline.data.manifest import FORMAT_VERSION, read_manifest

IMAGES = "images.npy"
MANIFEST = "manifest.json"
CONTACT_SHEET = "contact_sheet.png"
FINDINGS = "findings.json"  # of the sources: see pipeline.data.doctor
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
NAME_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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


def load_dataset(name: str, root: Path, option: str = "--data") -> Dataset:
    """Open root/name without reading its pixels. UserError if it is not prepared or damaged.

    option: what the name was given with, for the message where it is no name.
    """
    directory = root / check_name(name, option)
    if not (directory / MANIFEST).is_file():
        raise UserError(_not_prepared(name, root))
    manifest = _read_manifest(directory)
    size = manifest["image_size"]
    images = _open_images(directory, (manifest["num_images"], size, size, 3))
    num_training = len(images) - manifest["num_held_out"]
    if not 0 <= num_training <= len(images):
        raise _damaged(directory, f"{MANIFEST} holds {manifest['num_held_out']} of {len(images)} images out")
    digest = split_digest(manifest["digest"], manifest["num_held_out"])
    return Dataset(name, directory, images[:num_training], images[num_training:], digest, manifest)


def read_findings(dataset: Dataset) -> dict[str, Any]:
    """Return what was found in the sources of a dataset; UserError if it is not known."""
    path = dataset.directory / FINDINGS
    try:
        findings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}). Prepare the dataset again under another name, or run "
            "`pipeline prepare --check` on its source."
        ) from error
    if not isinstance(findings, dict):
        raise _damaged(dataset.directory, f"{FINDINGS} is no table")
    return findings


def check_name(name: str, option: str) -> str:
    """Return the name of a dataset. UserError if it is none: it is the name of a folder and may not lead elsewhere."""
    if not NAME_RULE.fullmatch(name) or len(name) > 100:
        raise UserError(
            f"{option}: must be letters, digits, '.', '_' and '-', begin with a letter or digit "
            f"and have at most 100 characters, got {name!r}. Choose another."
        )
    return name


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


def _open_images(directory: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Map the pixels. The header is compared before numpy makes an array: some that it takes end the process."""
    try:
        with (directory / IMAGES).open("rb") as file:
            found, by_columns, dtype = HEADERS[np.lib.format.read_magic(file)](file)
            start = file.tell()
        if found == shape and not by_columns and dtype == np.uint8:
            return np.memmap(directory / IMAGES, np.uint8, "r", start, shape)
    except Exception as error:  # numpy raises many types on damaged headers
        raise _damaged(directory, f"{IMAGES} cannot be opened ({error})") from error
    order = " by columns" if by_columns else ""
    raise _damaged(directory, f"{IMAGES} holds {dtype} {list(found)}{order}, {MANIFEST} says uint8 {list(shape)}")


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = read_manifest(directory / MANIFEST)
    except (OSError, ValueError) as error:
        raise _damaged(directory, f"{MANIFEST} cannot be read ({' '.join(str(error).split())})") from error
    if manifest["format"] != FORMAT_VERSION:
        raise UserError(
            f"{directory / MANIFEST}: format {manifest['format']} is not the {FORMAT_VERSION} that this version reads. "
            "Prepare it under another name, or delete the folder and prepare it again."
        )
    return manifest


def _damaged(directory: Path, what: str) -> UserError:
    return UserError(f"dataset '{directory}' is damaged: {what}. Delete that folder and prepare it again.")
