"""Zip files: members are read in bounded pieces, and no byte of the file belongs to two of them."""

import copy
import itertools
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.data.decompression import bunzip
from pipeline.data.items import Item, Rejected
from pipeline.data.members import NO_FILE, content_item, is_silent, refusal, rejected_item

BLOCK_BYTES = 2**20
# zipfile decompresses all it has read of LZMA and Zstandard at once: 4 KiB can be 130 MiB.
UNBOUNDED_BLOCK_BYTES = 2**12
LOCAL_HEADER_BYTES = 30
DAMAGE = (
    *(zipfile.BadZipFile, NotImplementedError, struct.error),
    *(zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, IndexError),
)
ENCRYPTED = 0x1  # flag bit


def zip_members(path: Path, read: bool) -> Iterator[Item]:
    """Give the members in the order of the directory; see open_archive."""
    with zipfile.ZipFile(path) as archive:
        overlapping = _overlapping(archive.infolist())
        for index, member in enumerate(archive.infolist()):
            if is_silent(member.filename, member.is_dir()):
                continue
            verdict = _verdict(member, index in overlapping)
            if verdict is not None:
                yield rejected_item(member.filename, verdict)
            else:
                yield _read(archive, member) if read else content_item(member.filename, b"")


def _verdict(member: zipfile.ZipInfo, overlaps: bool) -> Rejected | None:
    file_type = member.external_attr >> 28  # the upper bits of the Unix mode; 0 if made elsewhere
    if file_type not in (0, 0o10):
        return NO_FILE
    if overlaps:
        return Rejected("damaged", "damaged: it overlaps another member of the archive")
    if member.flag_bits & ENCRYPTED:
        return Rejected("unreadable", "cannot be read: it is encrypted")
    return refusal(member.filename, member.file_size, is_file=True)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Item:
    try:
        data = _bunzipped(archive, member) if member.compress_type == zipfile.ZIP_BZIP2 else _content(archive, member)
    except RuntimeError as error:  # compressed or encrypted in a way Python cannot read
        return rejected_item(member.filename, Rejected("unreadable", f"cannot be read: {error}"))
    except DAMAGE as error:
        return rejected_item(member.filename, Rejected("damaged", f"damaged: {error}"))
    return content_item(member.filename, data)


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    is_bounded = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    data = bytearray()
    with archive.open(member) as file:  # gives no more than file_size, and compares the CRC
        while block := file.read(BLOCK_BYTES if is_bounded else UNBOUNDED_BLOCK_BYTES):
            data += block
    return bytes(data)


def _bunzipped(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Decompress what zipfile takes for stored bytes: its own way makes gigabytes of a few hundred of them."""
    stored = copy.copy(member)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, member.compress_size
    del stored.CRC
    with bunzip(archive.open(stored)) as file:
        data = file.read(member.file_size + 1)
    if len(data) != member.file_size or zlib.crc32(data) != member.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 or size for file {member.filename!r}")
    return data


def _overlapping(members: Sequence[zipfile.ZipInfo]) -> set[int]:
    """Find the members whose bytes reach into the next one's: so do bombs that refer to one piece many times."""
    # Of several at one place the first counts, as in the check of newer Pythons: it is the last of them in this order.
    order = sorted(range(len(members)), key=lambda index: (members[index].header_offset, -index))
    return {
        index
        for index, after in itertools.pairwise(order)
        if members[index].header_offset + LOCAL_HEADER_BYTES + members[index].compress_size
        > members[after].header_offset
    }
