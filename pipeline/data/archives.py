"""Archives as sources, read member by member without unpacking: nothing touches the disk, no name matters."""

import contextlib
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gan.errors import UserError
from pipeline.data.decompression import MAX_DICTIONARY_BYTES, open_decompressed
from pipeline.data.items import Item, Source
from pipeline.data.members import SUFFIXES, content_item, is_silent, refusal, rejected_item
from pipeline.data.seven_zip import is_seven_zip, seven_zip_members
from pipeline.data.tars import TarWalk, is_tar
from pipeline.data.zips import DAMAGE, zip_members

Members = Callable[[Path, bool], Iterator[Item]]  # (path, whether to read the content)


def open_archive(spec: str) -> Source | None:
    """Give the regular members of a zip, tar or 7z file in the archive's order, or None if `spec` is none of them.

    The content decides the kind, not the suffix. Links, devices, encrypted, damaged and oversized members are rejected
    one by one; an archive that ends too early is a UserError, since nobody knows what is missing. At most one member
    and its decompressor are in memory, whatever sizes the archive claims; members that are passed over in a compressed
    tar or a 7z still cost the time to decompress them. The fingerprint is the file's name, size and time of change.
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


def _members_function(path: Path) -> Members | None:
    if is_seven_zip(path):
        return seven_zip_members
    if is_tar(path):  # before zip: an uncompressed tar whose last member is a zip looks like a zip, too
        return _tar_members
    return zip_members if zipfile.is_zipfile(path) else None


def _tar_members(path: Path, read: bool) -> Iterator[Item]:
    with open_decompressed(path) as file:
        walk = TarWalk(file)
        for member in walk:
            if is_silent(member.name, member.is_folder):
                continue
            verdict = refusal(member.name, member.num_bytes, member.is_file)
            if verdict is not None:
                yield rejected_item(member.name, verdict)
            else:
                yield content_item(member.name, walk.content(member) if read else b"")


def _guarded(path: Path, members: Members, read: bool) -> Iterator[Item]:
    with _damage_as_user_error(path):
        yield from members(path, read)


@contextlib.contextmanager
def _damage_as_user_error(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise UserError(f"--source: archive '{path}' cannot be read: {error.strerror}. Allow reading it.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--source: archive '{path}' has names that are no UTF-8. Pack it again.") from error
    except (*DAMAGE, tarfile.TarError) as error:
        if isinstance(error, lzma.LZMAError) and "limit" in str(error):
            raise UserError(
                f"--source: archive '{path}' needs more than {MAX_DICTIONARY_BYTES:,} bytes of memory to be "
                "decompressed. Pack it again with `xz -9` at most."
            ) from error
        raise UserError(f"--source: archive '{path}' cannot be read: {error}. Download or copy it again.") from error


def _stem(name: str) -> str:
    suffix = max((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), key=len, default="")
    return name.removesuffix(name[len(name) - len(suffix) :]) if suffix else name
