"""The prepare stage: any sources become one canonical dataset, once."""

import contextlib
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from PIL import features
from tqdm import tqdm

from gan.errors import UserError
from gan.files import fsync, storage_errors, write_atomic, write_json_atomic
from pipeline import __version__
from pipeline.data import decoding
from pipeline.data.collection import Collection, Counts, write_images
from pipeline.data.dataset import (
    CONTACT_SHEET,
    FORMAT_VERSION,
    IMAGES,
    MANIFEST,
    Dataset,
    contact_sheet,
    load_dataset,
)
from pipeline.data.request import Request, make_request
from pipeline.data.workers import CHUNK_ITEMS, Loading, available_cores

UNKNOWN_RIGHTS = {"licence": None, "attribution": None}  # of a user's own files


def prepare(
    sources: Sequence[str] = ("avatars",),
    *,
    name: str | None = None,
    num_images: int | None = None,
    image_size: int = 64,
    held_out: int = 0,
    root: Path,
    num_workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Make the dataset root/name from `sources` and open it.

    sources: built-in names, folders, zip or tar archives; see pipeline.data.sources.
    name: default is "avatars", or made from the name of a single folder or archive.
    num_images: how many distinct images to keep, chosen by content; None for all (51,223 avatars).
    image_size: height and width in pixels, 8 to 1024.
    held_out: so many of the images, the last in their order by content, are for no training: see Dataset.held_out.
    num_workers: processes; None for one a core. The result does not depend on it.
    progress: show a progress bar on stderr.

    If root/name already holds exactly this, nothing is done; if it holds something else, UserError. The folder
    appears in one step when everything is in it, so that stopping at any moment leaves no half dataset. Exact
    duplicates (equal canonical pixels) are kept once; what cannot be used is listed in the manifest with the reason.
    For the order of the images see Collection.choose.
    """
    if num_workers is not None and num_workers < 1:
        raise UserError(f"--num-workers: must be 1 or more, got {num_workers}. Leave it out to use all cores.")
    request = make_request(sources, name, num_images, image_size, held_out)
    if _is_prepared(request, root):
        return load_dataset(request.name, root)
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    with _lock(root, request.name):
        if not _is_prepared(request, root):
            _build(request, root, num_workers or available_cores(), progress)
    return load_dataset(request.name, root)


def _build(request: Request, root: Path, num_workers: int, progress: bool) -> None:
    directory = root / request.name
    with storage_errors(directory), _partial_folder(root, request.name) as partial:
        collection = Collection(request.sources)
        scratch = partial / "decoded.bin"
        total = _total(request)
        with Loading(scratch, request.image_size, 1 if total <= CHUNK_ITEMS else num_workers) as loading:
            # A terminal gets a moving bar, a log file a line now and then.
            interval = 0.1 if sys.stderr.isatty() else 10
            bar = tqdm(
                total=total, desc=f"prepare {request.name}", unit="image", disable=not progress, mininterval=interval
            )
            with bar:
                collection.read(loading, request.num_images, bar)
        chosen = collection.choose(request.num_images)
        if request.held_out and request.held_out > len(chosen) - 2:
            raise UserError(
                f"--held-out: must leave at least 2 of the {len(chosen)} images for training, got {request.held_out}. "
                "Hold out fewer."
            )
        digest = write_images(partial / IMAGES, scratch, chosen, request.image_size)
        fsync(partial / IMAGES)
        scratch.unlink()
        sheet = contact_sheet(np.load(partial / IMAGES, mmap_mode="r", allow_pickle=False))
        write_atomic(partial / CONTACT_SHEET, sheet.save)
        write_json_atomic(partial / MANIFEST, _manifest(request, collection, len(chosen), digest))
        partial.rename(directory)
        fsync(root)
    rejected = len(collection.rejected)
    held_out = f" ({request.held_out:,} of them held out)" if request.held_out else ""
    why = f" (see {MANIFEST})" if rejected else ""
    _say(f"{directory}: {len(chosen):,} images{held_out}, {rejected:,} files rejected{why}.")


def _total(request: Request) -> int:
    """Count the items to come, for the progress bar."""
    counts = [source.count() for source in request.sources]
    return sum((request.num_images or 0) if count is None else count for count in counts)


def _manifest(request: Request, collection: Collection, num_images: int, digest: str) -> dict[str, Any]:
    sources = [
        {"source": source.spec, "kind": source.kind, **asdict(counts), **UNKNOWN_RIGHTS, **source.licence}
        for source, counts in zip(request.sources, collection.counts, strict=True)
    ]
    return {
        "format": FORMAT_VERSION,
        "name": request.name,
        "digest": digest,
        "num_images": num_images,
        "num_held_out": request.held_out,
        "image_size": request.image_size,
        "pixels": "uint8 [N, H, W, 3], RGB, 0 to 255",
        "resize_rule": decoding.RULE,
        "sources": sources,
        "counts": {key: sum(source[key] for source in sources) for key in asdict(Counts())},
        "rejected": collection.rejected,
        "request": request.describe(),
        "versions": {
            "python": platform.python_version(),
            "gan-benchmark": __version__,
            "numpy": metadata.version("numpy"),
            "pillow": metadata.version("pillow"),
            "libjpeg-turbo": features.version("libjpeg_turbo"),
        },
    }


def _is_prepared(request: Request, root: Path) -> bool:
    """Whether root/name is what was asked for. UserError if it is something else."""
    directory = root / request.name
    if not directory.exists():
        return False
    if not (directory / MANIFEST).exists():
        raise UserError(f"--name: '{directory}' exists but is no dataset. Give another --name or delete that folder.")
    dataset = load_dataset(request.name, root)
    differences = request.differences(dataset.manifest)
    if differences:
        raise UserError(
            f"--name: dataset '{directory}' differs from what was asked: {'; '.join(differences)}. "
            "Give another --name, or delete that folder if no run needs it."
        )
    _say(f"{directory}: already prepared from the same input ({len(dataset.images):,} images), nothing to do.")
    return True


@contextlib.contextmanager
def _lock(root: Path, name: str) -> Iterator[None]:
    """Let one process at a time build a dataset; a second one waits and then finds it done."""
    lock = FileLock(root / f".{name}.lock")
    with storage_errors(Path(lock.lock_file)):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _say(f"{root / name}: another process is preparing it, waiting.")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _partial_folder(root: Path, name: str) -> Iterator[Path]:
    """Give a hidden folder to build in, gone at the end; first remove what killed processes left. Needs the lock."""
    leftover = re.compile(rf"\.{re.escape(name)}\.partial-[a-z0-9_]{{8}}")
    for path in root.iterdir():
        if leftover.fullmatch(path.name):
            shutil.rmtree(path)
    partial = Path(tempfile.mkdtemp(prefix=f".{name}.partial-", dir=root))
    partial.chmod(root.stat().st_mode & 0o777)  # mkdtemp gives 0700, which would hide the dataset from colleagues
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _say(message: str) -> None:
    tqdm.write(message, file=sys.stderr)
