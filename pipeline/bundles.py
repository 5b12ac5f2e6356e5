"""Bundles: zip files of runs, with a checksum of every file in them. Nothing is believed before it was compared.

index.json names the runs; of each, ID/run.json holds what the store knows, and says which files lie in ID/artifacts/
and ID/checkpoints/.
"""

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gan.errors import UserError
from gan.files import remove_leftovers, write_atomic
from gan.schema import STRICT
from pipeline.data.zips import DAMAGE
from pipeline.tracking.copies import Copy

INDEX, RUN = "index.json", "run.json"
ARTIFACTS, CHECKPOINTS = "artifacts", "checkpoints"  # folders of a run
FORMAT: Literal[1] = 1
LONGEST_JSON = 2**28  # bytes of one JSON file
BLOCK = 2**20
DAY_ONE = (1980, 1, 1, 0, 0, 0)  # a zip file's first: equal runs make equal bytes
COMPRESSED = {".png", ".webp", ".pt"}  # already, or not to be compressed


def _relative(path: str) -> str:
    """Refuse a path that leads out of its folder, or that some system reads in another way."""
    parts = PurePosixPath(path).parts
    if not parts or "/".join(parts) != path or path.startswith("/") or ".." in parts or not path.isprintable():
        raise ValueError("must be a path below its folder")
    if any(character in path for character in '\\:*?"<>|'):
        raise ValueError("must not have characters that some file systems do not")
    return path


FilePath = Annotated[str, Field(max_length=500), AfterValidator(_relative)]


@dataclass(frozen=True, config=STRICT)
class File:
    """A file of a run. size: in bytes."""

    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=STRICT)
class Entry:
    """A run of a bundle. artifacts, checkpoints: its files by their path below their folder."""

    run: Copy
    artifacts: dict[FilePath, File]
    checkpoints: dict[FilePath, File]

    @property
    def digest(self) -> str:
        """A hash of all of it."""
        return hashlib.sha256(_ENTRY.dump_json(self)).hexdigest()


@dataclass(frozen=True, config=STRICT)
class Index:
    """What a bundle is. software: of the program that wrote it."""

    format: Literal[1]
    software: Annotated[str, Field(max_length=200)]
    runs: list[Annotated[str, Field(max_length=256)]]


_INDEX, _ENTRY = TypeAdapter(Index), TypeAdapter(Entry)


class Writer:
    """Writes runs into a bundle, one after the other."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._runs: list[str] = []

    def add(self, copy: Copy, artifacts: Mapping[str, Path], checkpoints: Mapping[str, Path]) -> None:
        """Add a run with its files, which lie at these paths."""
        found = {
            folder: {name: self._add_file(f"{copy.run_id}/{folder}/{name}", path) for name, path in sorted(of.items())}
            for folder, of in ((ARTIFACTS, artifacts), (CHECKPOINTS, checkpoints))
        }
        entry = Entry(copy, found[ARTIFACTS], found[CHECKPOINTS])
        self._add_text(f"{copy.run_id}/{RUN}", _ENTRY.dump_json(entry))
        self._runs.append(copy.run_id)

    def close(self, software: str) -> None:
        """Write the index."""
        self._add_text(INDEX, _INDEX.dump_json(Index(FORMAT, software, self._runs)))

    def _add_file(self, name: str, path: Path) -> File:
        sha256, size = hashlib.sha256(), 0
        with path.open("rb") as source, self._archive.open(_member(name), "w", force_zip64=True) as target:
            while block := source.read(BLOCK):
                sha256.update(block)
                size += len(block)
                target.write(block)
        return File(size, sha256.hexdigest())

    def _add_text(self, name: str, content: bytes) -> None:
        with self._archive.open(_member(name), "w") as target:
            target.write(content)


def write_bundle(file: Path, software: str, fill: Callable[[Writer], None]) -> None:
    """Write a bundle of what `fill` adds: as a whole, or not at all. Raises OSError as it comes."""

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w") as archive:
            writer = Writer(archive)
            fill(writer)
            writer.close(software)

    file.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(file.parent)
    write_atomic(file, write)


@dataclass(frozen=True, config={"arbitrary_types_allowed": True})
class Bundle:
    """An open bundle whose every byte was compared."""

    file: Path
    archive: zipfile.ZipFile
    entries: list[Entry]

    def extract(self, entry: Entry, folder: str, target: Path) -> None:
        """Write the files of a run's folder below a target."""
        files = entry.artifacts if folder == ARTIFACTS else entry.checkpoints
        for name in sorted(files, key=lambda each: (each.endswith(".json"), each)):  # JSON makes a checkpoint valid
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.archive.open(f"{entry.run.run_id}/{folder}/{name}") as source:
                write_atomic(path, lambda temporary, source=source: _copy(source, temporary))  # type: ignore[misc]


@contextmanager
def open_bundle(file: Path) -> Iterator[Bundle]:
    """Open a bundle and compare all of it with its checksums.

    Raises UserError for a file that is none, that is damaged, or that was changed.
    """
    if not file.is_file():
        raise UserError(f"{file}: there is no such file. `pipeline export FILE` writes one.")
    with ExitStack() as held:
        try:
            archive = held.enter_context(zipfile.ZipFile(file))
            bundle = Bundle(file, archive, _checked(file, archive))
        except DAMAGE as error:
            raise UserError(
                f"{file}: is damaged, or no bundle of runs: {error}. Take the file that `pipeline export` wrote."
            ) from error
        yield bundle


def _checked(file: Path, archive: zipfile.ZipFile) -> list[Entry]:
    members = {member.filename: member for member in archive.infolist()}
    try:
        index = _INDEX.validate_json(_text(archive, members[INDEX]))
        entries = [_ENTRY.validate_json(_text(archive, members[f"{run_id}/{RUN}"])) for run_id in index.runs]
    except KeyError as error:
        raise UserError(
            f"{file}: has no {error.args[0]}: it is no bundle of runs. Take the file that `pipeline export` wrote."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise UserError(
            f"{file}: {where} is not what `pipeline export` of this version writes ({first['msg']}). "
            "Import it with the version that wrote it, or export again."
        ) from error
    if [entry.run.run_id for entry in entries] != index.runs or len(set(index.runs)) < len(index.runs):
        raise UserError(f"{file}: its index does not name its runs. Take the file that `pipeline export` wrote.")
    files = {
        f"{entry.run.run_id}/{folder}/{name}": each
        for entry in entries
        for folder, of in ((ARTIFACTS, entry.artifacts), (CHECKPOINTS, entry.checkpoints))
        for name, each in of.items()
    }
    if wrong := {*members} ^ {INDEX, *files, *(f"{run_id}/{RUN}" for run_id in index.runs)}:
        raise UserError(f"{file}: {min(wrong)} is in it or in its list, but not in both. Export again.")
    for name, each in files.items():
        if members[name].file_size != each.size or _sha256(archive, members[name]) != each.sha256:
            raise UserError(f"{file}: {name} does not have its checksum: it is damaged. Copy the bundle again.")
    return entries


def _text(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > LONGEST_JSON:
        raise ValueError(f"{member.filename} has {member.file_size:,} bytes")
    with _opened(archive, member) as source:
        return source.read(LONGEST_JSON)


def _sha256(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> str:
    sha256 = hashlib.sha256()
    with _opened(archive, member) as source:
        while block := source.read(BLOCK):
            sha256.update(block)
    return sha256.hexdigest()


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others take memory without bound
        raise ValueError(f"{member.filename} is compressed in another way than `pipeline export` does it")
    return archive.open(member)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, DAY_ONE)
    member.external_attr = 0o644 << 16
    member.compress_type = zipfile.ZIP_STORED if Path(name).suffix in COMPRESSED else zipfile.ZIP_DEFLATED
    return member


def _copy(source: IO[bytes], path: Path) -> None:
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)
