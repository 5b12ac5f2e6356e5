"""Datasets and weights on their way to the machines that train: stored once, fetched once by each machine, verified.

They travel through the tracking store, as artifacts of a run of their own, or through a folder that all machines see.
"""

import json
import logging
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from gan.errors import UserError
from gan.files import sha256_of, storage_errors, write_json_atomic
from pipeline.data.dataset import Dataset
from pipeline.tracking import Stage, Store

INPUT = "input"  # folder of the artifacts
FILES = "mlflow.gan.files"  # tag: JSON: sha256 by name
INDEX = "files.json"  # the same in a folder; it says that all of them are there

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Input:
    """Files that all cells of a suite need.

    key: what they are known by, such as a digest of their content. files: sha256 by name. run_id: the run of the
    tracking store that holds them. folder: where they lie instead, for all machines to see.
    """

    name: str
    key: str
    files: Mapping[str, str]
    run_id: str | None = None
    folder: Path | None = None


def share_dataset(dataset: Dataset, store: Store, shared: Path | None) -> Input:
    """Put a dataset where other machines can fetch it, unless it is there."""
    return share(dataset.name, dataset.digest, dataset.directory, store, shared)


def share_file(path: Path, store: Store, shared: Path | None) -> Input:
    """Put a file, such as weights, where other machines can fetch it, unless it is there."""
    return share(path.name, sha256_of(path), path, store, shared)


def share(name: str, key: str, source: Path, store: Store, shared: Path | None) -> Input:
    """Put a file, or the files of a folder, into the tracking store or the folder `shared`, unless they are there.

    Raises UserError where that fails.
    """
    paths = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
    if shared is not None:
        folder = shared.absolute() / INPUT / key[:32] / name
        if (files := _index(folder)) is None:
            files = {path.name: sha256_of(path) for path in paths}
            _copy(paths, files, folder)
        return Input(name, key, files, folder=folder)
    for run in store.find({"stage": Stage.INPUT, "key": key, "input": name}):
        if run.status == "FINISHED" and (known := _parsed(run.tags.get(FILES, ""))) is not None:
            return Input(name, key, known, run_id=run.run_id)
    log.info("%s: into the tracking store, once for all machines (%.1f MB).", name, _megabytes(paths))
    files = {path.name: sha256_of(path) for path in paths}
    tags = {"stage": Stage.INPUT, "key": key, "input": name, FILES: json.dumps(files, sort_keys=True)}
    with store.open_run(name=f"input-{name}", tags=tags, description="What the cells of suites need.") as writer:
        for path in paths:
            writer.log_file(path, INPUT)
    return Input(name, key, files, run_id=writer.run_id)


def fetch_input(wanted: Input, store: Store, root: Path) -> Path:
    """Return a folder of this machine, named as the input, with its files; fetched and verified where it is missing.

    Raises UserError where a file cannot be had, or is not what was stored.
    """
    folder = root / wanted.key[:32] / wanted.name
    with storage_errors(folder), _locked(folder):
        if _index(folder) == dict(wanted.files):
            return folder
        if folder.exists():
            shutil.rmtree(folder)
        partial = folder.with_name(f".{folder.name}.partial-{secrets.token_hex(4)}")
        partial.mkdir()
        try:
            for name, digest in wanted.files.items():
                path = _fetch(wanted, name, store, partial)
                if (found := sha256_of(path)) != digest:
                    raise UserError(
                        f"{wanted.name}: {name} of {_origin(wanted)} is damaged: its sha256 is {found[:12]}, "
                        f"{digest[:12]} was stored. Delete it there and run the suite again: it is stored anew."
                    )
            write_json_atomic(partial / INDEX, dict(wanted.files))
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    log.info("%s: fetched from %s and verified.", wanted.name, _origin(wanted))
    return folder


def _fetch(wanted: Input, name: str, store: Store, folder: Path) -> Path:
    if Path(name).name != name:
        raise UserError(f"{wanted.name}: {_origin(wanted)} names a file '{name}' elsewhere. Delete it there.")
    if wanted.folder is not None:
        return Path(shutil.copyfile(wanted.folder / name, folder / name))
    found = store.download(store.get(str(wanted.run_id)), f"{INPUT}/{name}", folder)
    return found if found.parent == folder else found.rename(folder / name)


def _origin(wanted: Input) -> str:
    return f"run {wanted.run_id}" if wanted.folder is None else str(wanted.folder)


def _copy(paths: list[Path], files: Mapping[str, str], folder: Path) -> None:
    """Copy files to a folder that other machines see; it appears there whole."""
    log.info("%s: into %s, once for all machines (%.1f MB).", folder.name, folder.parent, _megabytes(paths))
    partial = folder.with_name(f".{folder.name}.partial-{secrets.token_hex(4)}")
    with storage_errors(folder):
        partial.mkdir(parents=True)
        try:
            for path in paths:
                shutil.copyfile(path, partial / path.name)
            write_json_atomic(partial / INDEX, dict(files))
            if not folder.exists():
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process of a machine at a time fetches an input; the others find it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        yield


def _index(folder: Path) -> dict[str, str] | None:
    """Return the files of a folder that is whole, or None."""
    try:
        return _parsed((folder / INDEX).read_text(encoding="utf-8"))
    except OSError:
        return None


def _parsed(text: str) -> dict[str, str] | None:
    try:
        files = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return {str(name): str(digest) for name, digest in files.items()} if isinstance(files, dict) else None


def _megabytes(paths: list[Path]) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6
