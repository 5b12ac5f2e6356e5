"""Looking after prepared datasets: list, show, verify and remove them."""

import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gan.errors import UserError
from gan.files import storage_errors
from pipeline.data.dataset import (
    CONTACT_SHEET,
    FINDINGS,
    IMAGES,
    MANIFEST,
    Dataset,
    blocks,
    check_name,
    load_dataset,
    prepared_names,
    start_digest,
)
from pipeline.progress import progress_bar

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Entry:
    """A folder of data/. problem: why it cannot be used, if it cannot."""

    name: str
    dataset: Dataset | None
    problem: str = ""


def list_datasets(root: Path) -> list[Entry]:
    """Return what is prepared below `root`, damaged datasets too."""
    return [_entry(name, root) for name in prepared_names(root)]


def _entry(name: str, root: Path) -> Entry:
    try:
        return Entry(name, load_dataset(name, root))
    except UserError as error:
        return Entry(name, None, str(error))


def as_table(entries: Sequence[Entry]) -> str:
    """Return entries as a table for a terminal."""
    rows = [_row(entry.dataset) if entry.dataset else {"name": entry.name, "images": "damaged"} for entry in entries]
    table = str(pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True))
    return "\n\n".join([table, *(entry.problem for entry in entries if entry.problem)])


def _row(dataset: Dataset) -> dict[str, str]:
    manifest = dataset.manifest
    return {
        "name": dataset.name,
        "images": f"{len(dataset.images):,}",
        "held out": f"{len(dataset.held_out):,}",
        "pixels": f"{manifest['image_size']} x {manifest['image_size']}",
        "MB": f"{(dataset.directory / IMAGES).stat().st_size / 1e6:,.1f}",
        "digest": dataset.digest[:12],
        "sources": ", ".join(each["source"] for each in manifest["sources"]) or UNKNOWN,
    }


def card(dataset: Dataset) -> str:
    """Return what there is to know of a dataset, in Markdown."""
    manifest = dataset.manifest
    facts = {
        "images": f"{len(dataset.images):,} for training, {len(dataset.held_out):,} held out",
        "pixels": f"{manifest['image_size']} x {manifest['image_size']}, {manifest['pixels']}",
        "digest": f"{dataset.digest}, of the pixels and the split",
        "rule": manifest["resize_rule"],
        "read": _counted(manifest["counts"]) or UNKNOWN,
        "found": _counted(manifest["findings"]) or "nothing to remark",
        "made by": ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()) or UNKNOWN,
        "made again by": f"`{again(dataset)}`",
        "contact sheet": dataset.directory / CONTACT_SHEET,
        "every file": dataset.directory / FINDINGS,
    }
    sources = [
        f"- {each['source']} ({each['kind']}): {each['kept']:,} images; licence: {each['licence'] or UNKNOWN}; "
        f"attribution: {each['attribution'] or UNKNOWN}"
        for each in manifest["sources"]
    ]
    return "\n".join([f"# {dataset.name}", "", *(f"- {k}: {v}" for k, v in facts.items()), "", "## Sources", *sources])


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in counts.items())


def verify(dataset: Dataset, progress: bool = True) -> None:
    """Read every pixel and compare with the digest of the day it was prepared. UserError if they differ."""
    manifest = dataset.manifest
    shape = (manifest["num_images"], manifest["image_size"], manifest["image_size"], 3)
    digest = start_digest(shape)
    with progress_bar(total=shape[0], unit="image", description=f"verify {dataset.name}", show=progress) as bar:
        for part in (dataset.images, dataset.held_out):
            for block in blocks(len(part)):
                digest.update(part[block].data)
                bar.update(block.stop - block.start)
    if digest.hexdigest() != manifest["digest"]:
        raise UserError(
            f"dataset '{dataset.directory}': its pixels are not those that were prepared (digest "
            f"{digest.hexdigest()[:12]}, {MANIFEST} says {manifest['digest'][:12]}): a fault of the disk, or somebody "
            f"changed them. Remove it (pipeline data remove {dataset.name}) and prepare it again: {again(dataset)}"
        )


def remove(name: str, root: Path) -> None:
    """Delete a dataset, damaged ones too. UserError if it is none or something is in the way.

    It disappears in one step, so that a stopped removal leaves no half dataset.
    """
    directory = root / check_name(name, "NAME")
    if not (directory / MANIFEST).exists():
        known = ", ".join(prepared_names(root)) or "none"
        raise UserError(f"NAME: '{directory}' is no dataset (prepared there: {known}). Give one of them.")
    with storage_errors(directory):
        gone = directory.with_name(f".{name}.partial-{secrets.token_hex(4)}")
        directory.rename(gone)
        shutil.rmtree(gone)


def again(dataset: Dataset) -> str:
    """Return the command that prepares a dataset once more."""
    manifest = dataset.manifest
    request: Mapping[str, Any] = manifest["request"]
    options = [part for each in manifest["sources"] for part in ("--source", each["source"])]
    for option, key, default in (
        ("--num-images", "num_images", None),
        ("--image-size", "image_size", 64),
        ("--fit", "fit", "crop"),
        ("--held-out", "held_out", 0),
        ("--near-duplicates", "near_duplicates", None),
    ):
        if request.get(key, default) not in (default, None):
            options += [option, str(request[key])]
    return shlex.join(["pipeline", "prepare", *options, "--name", dataset.name])
