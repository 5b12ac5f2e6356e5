"""7z files through py7zr, an optional extra: decompressed in memory, member by member, never onto the disk."""

import importlib
import io
import queue
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from gan.errors import UserError
from pipeline.data.decoding import MAX_FILE_BYTES
from pipeline.data.decompression import MAX_DICTIONARY_BYTES
from pipeline.data.items import Item, Rejected
from pipeline.data.members import content_item, is_silent, refusal, rejected_item

MAGIC = b"7z\xbc\xaf\x27\x1c"
MAX_PACKED_HEADER_BYTES = 2**16  # that say how the list of members is packed; usually 30
# Numbers of the methods whose decompressors in py7zr never give more than they are asked for: copy, delta, LZMA2, LZMA,
# BZip2, PPMd and the filters of machine code. The others do: 16 KiB of Zstandard become 500 MiB at once.
COPY, DELTA, LZMA2, LZMA, BZIP2, PPMD = "00", "03", "21", "030101", "040202", "030401"
FILTERS = ("04", "05", "06", "07", "08", "09", "03030103", "03030205", "03030401", "03030501", "03030701", "03030805")
BOUNDED = frozenset({COPY, DELTA, LZMA2, LZMA, BZIP2, PPMD, *FILTERS})
ENCRYPTION = "06f10701"
UNBOUNDED = {"040108": "Deflate", "040109": "Deflate64", "04f71101": "Zstandard", "04f71102": "Brotli"}  # names


def is_seven_zip(path: Path) -> bool:
    """Whether a file begins like a 7z file."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def seven_zip_members(path: Path, read: bool) -> Iterator[Item]:
    """Give the members in the order of the archive, empty ones first; see open_archive."""
    library = _library(path)
    with path.open("rb") as file:
        try:
            _check_methods(_header_coders(library, file), path)
            file.seek(0)
            archive = library.SevenZipFile(file)
        except UserError:
            raise
        except library.PasswordRequired as error:
            raise UserError(f"--source: archive '{path}' is encrypted. Unpack it and give the folder.") from error
        except Exception as error:  # py7zr raises nearly anything on damaged files
            raise _damaged(path, error) from error
        with archive:
            yield from _members(library, archive, path, read)


def _members(library: Any, archive: Any, path: Path, read: bool) -> Iterator[Item]:
    names = [entry.filename for entry in archive.files]
    coders = [coder for entry in archive.files if entry.folder is not None for coder in entry.folder.coders]
    if any(_method(coder) == ENCRYPTION for coder in coders):
        encrypted = Rejected("unreadable", "cannot be read: it is encrypted")
        for entry in archive.files:
            if not is_silent(entry.filename, entry.is_directory):
                yield rejected_item(entry.filename, encrypted)
        return
    _check_methods(coders, path)
    wanted = {}
    for index, entry in enumerate(archive.files):
        if is_silent(names[index], entry.is_directory):
            continue
        is_file = not (entry.is_symlink or entry.is_junction or entry.is_socket)
        verdict = refusal(names[index], entry.uncompressed, is_file)
        if verdict is not None:
            yield rejected_item(names[index], verdict)
        elif not read:
            yield content_item(names[index], b"")
        else:
            wanted[index] = names[index]
    if wanted:
        for index, data in _contents(library, archive, path):
            if index in wanted:
                yield content_item(wanted[index], data)


def _header_coders(library: Any, file: IO[bytes]) -> list[Mapping[str, Any]]:
    """Say how the list of members is compressed, before py7zr decompresses it."""
    start, size = struct.unpack("<QQ", file.read(32)[12:28])
    file.seek(32 + start)
    if file.read(1) != library.properties.PROPERTY.ENCODED_HEADER:
        return []
    streams = library.archiveinfo.HeaderStreamsInfo.retrieve(io.BytesIO(file.read(min(size, MAX_PACKED_HEADER_BYTES))))
    return [coder for folder in streams.unpackinfo.folders for coder in folder.coders]


def _check_methods(coders: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Refuse what would take memory without bound."""
    for coder in coders:
        method = _method(coder)
        if method not in BOUNDED | {ENCRYPTION}:
            raise UserError(
                f"--source: archive '{path}' is compressed with {UNBOUNDED.get(method, f'method {method}')}, whose "
                "memory cannot be bounded. Pack it again with LZMA2, the default of 7z, or unpack it and give the "
                "folder."
            )
        if _memory(method, coder.get("properties") or b"") > MAX_DICTIONARY_BYTES:
            raise UserError(
                f"--source: archive '{path}' needs more than {MAX_DICTIONARY_BYTES:,} bytes of memory to be "
                "decompressed. Pack it again with a smaller dictionary, or unpack it and give the folder."
            )


def _method(coder: Mapping[str, Any]) -> str:
    return bytes(coder["method"]).hex()


def _memory(method: str, properties: bytes) -> int:
    """Read the size of the dictionary, in bytes, from a method's properties."""
    if method == LZMA2 and properties:
        return (2 | properties[0] & 1) << (properties[0] // 2 + 11)
    if method in (LZMA, PPMD) and len(properties) >= 5:
        return int.from_bytes(properties[1:5], "little")
    return 0


def _contents(library: Any, archive: Any, path: Path) -> Iterator[tuple[int, bytes]]:
    """Decompress in a thread, which waits until each member is taken: two of them are in memory at once.

    Members are named by their numbers on the way, since py7zr refuses a whole archive for one name like '../x'.
    """
    for index, entry in enumerate(archive.files):
        entry.file_properties()["filename"] = str(index)
    handover = _Handover()
    thread = threading.Thread(target=_extract, args=(library, archive, handover), daemon=True)
    thread.start()
    try:
        while (taken := handover.take()) is not None:
            if isinstance(taken, BaseException):
                raise _damaged(path, taken) from taken
            yield taken
    finally:
        handover.abandoned.set()
        thread.join()


def _extract(library: Any, archive: Any, handover: "_Handover") -> None:
    class Member(library.Py7zIO):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.index, self.data = int(name), bytearray()

        def write(self, data: bytes) -> int:
            handover.check()
            if len(self.data) <= MAX_FILE_BYTES:
                self.data += data[: MAX_FILE_BYTES + 1 - len(self.data)]
            return len(data)

        def close(self) -> None:
            handover.give((self.index, bytes(self.data)))

        def read(self, size: int | None = None) -> bytes:  # noqa: ARG002
            return b""

        def seek(self, offset: int, whence: int = 0) -> int:  # noqa: ARG002
            return offset

        def flush(self) -> None:
            pass

        def size(self) -> int:
            return len(self.data)

    class Factory(library.WriterFactory):  # type: ignore[misc]
        def create(self, filename: str) -> Member:
            return Member(filename)

    with suppress(_Abandoned):
        try:
            archive.extractall(factory=Factory())
            handover.give(None)
        except _Abandoned:
            raise
        except Exception as error:  # handed over to the thread that asked
            handover.give(error)


class _Abandoned(BaseException):
    """Nobody takes what is decompressed."""


class _Handover:
    """One place between two threads."""

    def __init__(self) -> None:
        self.abandoned = threading.Event()
        self._place: queue.Queue[Any] = queue.Queue(maxsize=1)
        self.take = self._place.get

    def check(self) -> None:
        if self.abandoned.is_set():
            raise _Abandoned

    def give(self, thing: Any) -> None:
        while True:
            self.check()
            with suppress(queue.Full):
                self._place.put(thing, timeout=0.1)
                return


def _library(path: Path) -> Any:
    try:
        return importlib.import_module("py7zr")
    except ImportError as error:
        raise UserError(
            f"--source: archive '{path}' is a 7z file. Run `pip install 'gan-benchmark[7z]'` to read those, "
            "or unpack it and give the folder."
        ) from error


def _damaged(path: Path, error: BaseException) -> UserError:
    reason = str(error) or type(error).__name__
    return UserError(f"--source: archive '{path}' cannot be read: {reason}. Download or copy it again.")
