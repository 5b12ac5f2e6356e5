"""The prepare stage: any sources become one canonical dataset, once."""

import contextlib
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
from pipeline.data.choices import Fit, NearDuplicates
from pipeline.data.collection import Choice, Collection, write_images
from pipeline.data.dataset import (
    CONTACT_SHEET,
    FINDINGS,
    IMAGES,
    MANIFEST,
    Dataset,
    contact_sheet,
    load_dataset,
    read_findings,
)
from pipeline.data.doctor import Diagnosis, diagnose
from pipeline.data.items import Rule
from pipeline.data.manifest import FORMAT_VERSION
from pipeline.data.records import Scratch
from pipeline.data.request import Request, make_request
from pipeline.data.workers import CHUNK_ITEMS, Loading, available_cores
from pipeline.progress import progress_bar

UNKNOWN_RIGHTS = {"licence": None, "attribution": None}  # of a user's own files


def prepare(
    sources: Sequence[str] = ("avatars",),
    *,
    name: str | None = None,
    num_images: int | None = None,
    image_size: int = 64,
    fit: Fit = "crop",
    held_out: int = 0,
    near_duplicates: NearDuplicates = "report",
    strict: bool = False,
    findings: Path | None = None,
    root: Path,
    num_workers: int | None = None,
    progress: bool = True,
) -> Dataset:
    """Make the dataset root/name from `sources` and open it.

    sources: built-in names, folders, archives, arrays or names of hubs; see pipeline.data.sources.
    name: default is "avatars", or made from the name of a single source.
    num_images: how many distinct images to keep, chosen by content; None for all (51,223 avatars).
    image_size: height and width in pixels, 8 to 1024.
    fit: how a picture that is no square becomes one; see pipeline.data.items.Rule.
    held_out: so many of the images, the last in their order by content, are for no training: see Dataset.held_out.
    near_duplicates: report them, remove all but one of each, or do not look for them.
    strict: UserError if a file is rejected, after all were read.
    findings: a file for the diagnosis as JSON, beside the one in the dataset's folder; written also if strict fails.
    num_workers: processes; None for one a core. The result does not depend on it.
    progress: show a progress bar on stderr.

    If root/name already holds exactly this, nothing is done; if it holds something else, UserError. The folder
    appears in one step when everything is in it, so that stopping at any moment leaves no half dataset. Exact
    duplicates (equal canonical pixels) are kept once; what was found in the files is in findings.json beside the
    images. For the order of the images see Collection.choose.
    """
    num_workers = _number_of_workers(num_workers)
    request = make_request(sources, name, num_images, Rule(image_size, fit), held_out, near_duplicates)
    if not _is_prepared(request, root):
        with storage_errors(root):
            root.mkdir(parents=True, exist_ok=True)
        with _lock(root, request.name):
            if not _is_prepared(request, root):
                _build(request, root, strict=strict, findings=findings, num_workers=num_workers, progress=progress)
                return load_dataset(request.name, root)
    _say(f"{root / request.name}: already prepared from the same input, nothing to do.")
    dataset = load_dataset(request.name, root)
    if strict and (rejected := dataset.manifest.get("counts", {}).get("rejected")):
        raise UserError(_strict(f"{rejected:,} files were rejected (see {dataset.directory / FINDINGS})"))
    if findings is not None:
        _write_findings(findings, read_findings(dataset))
    return dataset


def check(
    sources: Sequence[str],
    *,
    num_images: int | None = None,
    image_size: int = 64,
    fit: Fit = "crop",
    near_duplicates: NearDuplicates = "report",
    strict: bool = False,
    findings: Path | None = None,
    num_workers: int | None = None,
    progress: bool = True,
    say: Callable[[str], None],
) -> None:
    """Read `sources` as prepare does and `say` what is found; nothing is kept but the file of findings.

    For the arguments see prepare. Temporary files take about 300 bytes an image.
    """
    num_workers = _number_of_workers(num_workers)
    rule = Rule(image_size, fit)
    request = make_request(sources, "check", num_images, rule, near_duplicates=near_duplicates)
    with tempfile.TemporaryDirectory(prefix="pipeline-check-") as name, storage_errors(Path(name)):
        folder = Path(name)
        scratch = Scratch(None, folder / "records.bin", folder / "names.jsonl")
        collection, _, diagnosis = _read(request, scratch, num_workers, progress)
    say(diagnosis.text)
    if findings is not None:
        _write_findings(findings, diagnosis.describe())
    if strict and diagnosis.counts.rejected:
        raise UserError(_strict(collection.rejected_in_words()))


def _build(
    request: Request, root: Path, *, strict: bool, findings: Path | None, num_workers: int, progress: bool
) -> None:
    directory = root / request.name
    with storage_errors(directory), _partial_folder(root, request.name) as partial:
        files = [partial / name for name in ("decoded.bin", "records.bin", "names.jsonl")]
        scratch = Scratch(*files)
        collection, choice, diagnosis = _read(request, scratch, num_workers, progress)
        if findings is not None:
            _write_findings(findings, diagnosis.describe())
        if strict and diagnosis.counts.rejected:
            raise UserError(_strict(collection.rejected_in_words()))
        if request.held_out and request.held_out > len(choice.slots) - 2:
            raise UserError(
                f"--held-out: must leave at least 2 of the {len(choice.slots)} images for training, "
                f"got {request.held_out}. Hold out fewer."
            )
        digest = write_images(partial / IMAGES, scratch, choice.slots, request.rule.image_size)
        fsync(partial / IMAGES)
        for file in files:
            file.unlink()
        sheet = contact_sheet(np.load(partial / IMAGES, mmap_mode="r", allow_pickle=False))
        write_atomic(partial / CONTACT_SHEET, sheet.save)
        write_json_atomic(partial / FINDINGS, diagnosis.describe())
        write_json_atomic(partial / MANIFEST, _manifest(request, collection, diagnosis, len(choice.slots), digest))
        partial.rename(directory)
        fsync(root)
    held_out = f", {request.held_out:,} of them held out" if request.held_out else ""
    _say(f"{directory}: {len(choice.slots):,} images{held_out}. {diagnosis.text}")


def _read(request: Request, scratch: Scratch, num_workers: int, progress: bool) -> tuple[Collection, Choice, Diagnosis]:
    """Load all items of the request, choose among them and say what was found."""
    collection = Collection(request.sources, scratch)
    total = _total(request)
    with (
        Loading(scratch, request.rule, 1 if total <= CHUNK_ITEMS else num_workers) as loading,
        progress_bar(total=total, unit="image", description=f"prepare {request.name}", show=progress) as bar,
    ):
        collection.read(loading, request.num_images, bar)
    choice = collection.choose(request.num_images, request.near_duplicates)
    return collection, choice, diagnose(collection, choice, near_removed=request.near_duplicates == "remove")


def _write_findings(path: Path, findings: dict[str, Any]) -> None:
    with storage_errors(path):
        write_json_atomic(path, findings)


def _number_of_workers(asked: int | None) -> int:
    if asked is not None and asked < 1:
        raise UserError(f"--num-workers: must be 1 or more, got {asked}. Leave it out to use all cores.")
    return asked or available_cores()


def _strict(what: str) -> str:
    return f"--strict: {what}. Mend or remove them, or leave --strict out to go on without them."


def _total(request: Request) -> int:
    """Count the items to come, for the progress bar."""
    counts = [source.count() for source in request.sources]
    return sum((request.num_images or 0) if count is None else count for count in counts)


def _manifest(
    request: Request, collection: Collection, diagnosis: Diagnosis, num_images: int, digest: str
) -> dict[str, Any]:
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
        "image_size": request.rule.image_size,
        "pixels": "uint8 [N, H, W, 3], RGB, 0 to 255",
        "resize_rule": decoding.RULES[request.rule.fit],
        "sources": sources,
        "counts": asdict(diagnosis.counts),
        "findings": {row.finding: row.num_files for row in diagnosis.rows},
        "request": request.describe(),
        "versions": {
            "python": platform.python_version(),
            "gan-benchmark": __version__,
            **{package: metadata.version(package) for package in ("numpy", "pillow", "simplejpeg")},
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
