"""Tar files, read front to back: every size is checked before it is believed, and nothing is kept.

Python's tarfile decodes the header blocks. Its walk is not used: it reads pax headers and long names of any size into
memory, follows chains of them by recursion, keeps every member, and takes a broken header for the end.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline.data.decompression import CHUNK_BYTES, open_decompressed

MAX_HEADER_BYTES = 2**20  # of a long name or a pax header
SPARSE_FLAG = 482  # in the first header block of a GNU sparse member; in those that follow it is at 504


@dataclass(frozen=True)
class TarMember:
    """One entry. num_bytes: of its content in the archive. is_file: regular and without holes."""

    name: str
    num_bytes: int
    is_file: bool
    is_folder: bool


def is_tar(path: Path) -> bool:
    """Whether a file, decompressed if need be, begins like a tar file."""
    with open_decompressed(path) as file:
        block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        return False
    try:
        return not any(block) or bool(_header(block))
    except tarfile.TarError:
        return False


class TarWalk:
    """The members of a tar file, each to be read before the next is asked for.

    tarfile.ReadError for anything that is no whole tar file, its end marker included.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = 0  # bytes of the present member up to the next header

    def __iter__(self) -> Iterator[TarMember]:
        while (member := self._next()) is not None:
            yield member

    def content(self, member: TarMember) -> bytes:
        """Read the content of the member that was given last."""
        self._left -= member.num_bytes
        return self._exactly(member.num_bytes)

    def _next(self) -> TarMember | None:
        self._skip(self._left)
        self._left = 0
        name, records = None, dict[bytes, bytes]()
        while any(block := self._exactly(tarfile.BLOCKSIZE)):
            header = _header(block)
            if header.type == tarfile.GNUTYPE_LONGNAME:
                name = self._extra(header).rstrip(b"\0")
            elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                records = _pax_records(self._extra(header))
            elif header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                self._skip(_padded(header.size))
            else:
                return self._member(header, block, records.get(b"path", name), records)
        return None

    def _member(
        self, header: tarfile.TarInfo, block: bytes, name: bytes | None, records: dict[bytes, bytes]
    ) -> TarMember:
        num_bytes = int(records.get(b"size", header.size))
        has_content = header.isreg() or header.type not in tarfile.SUPPORTED_TYPES
        is_sparse = header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(b"GNU.sparse.") for key in records)
        if header.type == tarfile.GNUTYPE_SPARSE:
            more = block[SPARSE_FLAG]
            while more:
                more = self._exactly(tarfile.BLOCKSIZE)[504]
        self._left = _padded(num_bytes) if has_content else 0
        return TarMember(
            name=header.name if name is None else name.decode("utf-8", "surrogateescape"),
            num_bytes=num_bytes,
            is_file=header.isreg() and not is_sparse,
            is_folder=header.isdir(),
        )

    def _extra(self, header: tarfile.TarInfo) -> bytes:
        if header.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims {header.size:,} bytes, more than {MAX_HEADER_BYTES:,}")
        return self._exactly(_padded(header.size))[: header.size]

    def _exactly(self, num_bytes: int) -> bytes:
        data = self._file.read(num_bytes)
        if len(data) < num_bytes:
            raise tarfile.ReadError("it breaks off before its end marker")
        return data

    def _skip(self, num_bytes: int) -> None:
        if isinstance(self._file, io.BufferedReader) and isinstance(self._file.raw, io.FileIO):
            end = self._file.tell() + num_bytes
            if end > os.fstat(self._file.fileno()).st_size:
                raise tarfile.ReadError("it breaks off before its end marker")
            self._file.seek(end)
            return
        while num_bytes > 0:  # compressed content has to be decompressed to be passed over
            num_bytes -= len(self._exactly(min(num_bytes, CHUNK_BYTES)))


def _header(block: bytes) -> tarfile.TarInfo:
    header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    if header.size < 0:
        raise tarfile.ReadError("a header claims a negative size")
    return header


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """Take the records "LENGTH KEY=VALUE", each with a line break, apart; LENGTH counts the whole record."""
    records = {}
    start = 0
    while start < len(data):
        space = data.find(b" ", start, start + 20)
        digits = data[start:space] if space > 0 else b""
        end = start + int(digits) if digits.isdigit() else 0
        if not space < end <= len(data) or data[end - 1 : end] != b"\n":
            raise tarfile.ReadError("a pax header is damaged")
        key, _, value = data[space + 1 : end - 1].partition(b"=")
        if key == b"size" and not (value.isdigit() and len(value) < 20):
            raise tarfile.ReadError("a pax header claims a size that is no number")
        records[key] = value
        start = end
    return records


def _padded(num_bytes: int) -> int:
    return -(-num_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
