"""Archives as sources, read member by member without unpacking: nothing touches the disk, no name matters."""

import bz2
import contextlib
import functools
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from gan.errors import UserError
from pipeline.data.decoding import MAX_FILE_BYTES, decode_bytes, too_large
from pipeline.data.items import Item, Source, is_hidden, reject

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError)


def is_archive_name(name: str) -> bool:
    """Whether a file's name says that it is an archive."""
    return name.lower().endswith(SUFFIXES)


def open_archive(spec: str) -> Source | None:
    """Give the regular members of a zip or tar file in the archive's order, or None if `spec` is neither.

    The content decides the kind, not the suffix. Links, devices and unreadable members are rejected one by one; an
    archive that ends too early is a UserError, since nobody knows what is missing. The fingerprint is the file's
    name, size and time of change.
    """
    path = Path(spec)
    if not path.is_file():
        return None
    with _damage_as_user_error(path):
        members = _members_function(path)
        status = path.stat()
    if members is None:
        return None
    return Source(
        spec=spec,
        kind="archive",
        default_name=_stem(path.name),
        fingerprint={"kind": "archive", "name": path.name, "size": status.st_size, "mtime_ns": status.st_mtime_ns},
        count=lambda: sum(1 for _ in _guarded(path, members, read=False)),
        items=lambda: _guarded(path, members, read=True),
        default_num_images=None,
        licence={},
    )


Members = Callable[[Path, bool], Iterator[Item]]


def _members_function(path: Path) -> Members | None:
    if tarfile.is_tarfile(path):  # first: an uncompressed tar whose last member is a zip looks like a zip, too
        return _tar_members
    return _zip_members if zipfile.is_zipfile(path) else None


def _tar_members(path: Path, read: bool) -> Iterator[Item]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isdir() or is_hidden(member.name):
                continue
            if not member.isreg():
                yield _rejected(member.name, "not a regular file (a link or a device)")
            elif member.size > MAX_FILE_BYTES:
                yield _rejected(member.name, too_large(member.size))
            else:
                yield _item(member.name, _read(archive.extractfile(member)) if read else b"")
        _check_end(archive)


def _check_end(archive: tarfile.TarFile) -> None:
    """Refuse an archive whose walk stopped at something else than the end marker, which tarfile lets pass.

    Compressed archives notice it themselves, and going back in them would read them once more.
    """
    file = archive.fileobj
    if file is None or isinstance(file, (gzip.GzipFile, bz2.BZ2File, lzma.LZMAFile)):
        return
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it breaks off before its end marker")


def _zip_members(path: Path, read: bool) -> Iterator[Item]:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            file_type = member.external_attr >> 28  # the upper bits of the Unix mode; 0 if made elsewhere
            if member.is_dir() or is_hidden(member.filename):
                continue
            if file_type not in (0, 0o10):
                yield _rejected(member.filename, "not a regular file (a link or a device)")
            elif member.file_size > MAX_FILE_BYTES:
                yield _rejected(member.filename, too_large(member.file_size))
            else:
                yield _zip_item(archive, member) if read else _item(member.filename, b"")


def _zip_item(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Item:
    try:
        return _item(member.filename, _read(archive.open(member)))
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        return _rejected(member.filename, f"damaged: {error}")
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or compressed in a way Python cannot read
        return _rejected(member.filename, f"cannot be read: {error}")


def _item(name: str, data: bytes) -> Item:
    return Item(name=name, load=functools.partial(decode_bytes, data), num_bytes=len(data))


def _rejected(name: str, reason: str) -> Item:
    return Item(name=name, load=functools.partial(reject, reason))


def _read(member: IO[bytes] | None) -> bytes:
    assert member is not None, "a regular member has content"  # noqa: S101
    with member:
        return member.read()


def _guarded(path: Path, members: Members, read: bool) -> Iterator[Item]:
    with _damage_as_user_error(path):
        yield from members(path, read)


@contextlib.contextmanager
def _damage_as_user_error(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise UserError(f"--source: archive '{path}' cannot be read: {error}. Download or copy it again.") from error


def _stem(name: str) -> str:
    suffix = max((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), key=len, default="")
    return name.removesuffix(name[len(name) - len(suffix) :]) if suffix else name
