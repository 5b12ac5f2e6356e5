"""Decompression in bounded pieces: however much a compressed file unfolds to, no more is made than is asked for."""

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import IO, Any

from gan.errors import UserError

CHUNK_BYTES = 2**18
MAX_DICTIONARY_BYTES = 2**28  # that an xz file may ask for; `xz -9` asks for 2**26
XZ = (b"\xfd7zXZ\x00", b"\x5d\x00\x00")


def open_decompressed(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed if its first bytes say gzip, bzip2, xz or zstd."""
    file = path.open("rb")
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        file.close()
        return io.BufferedReader(gzip.open(path), CHUNK_BYTES)
    if magic.startswith(b"BZh"):
        return bunzip(file)
    if magic.startswith(XZ):
        return io.BufferedReader(Decompressed(file, _xz_decompressor), CHUNK_BYTES)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        return io.BufferedReader(Decompressed(file, _zstd_decompressor(path)), CHUNK_BYTES)
    return file


def bunzip(file: IO[bytes]) -> IO[bytes]:
    """Decompress bzip2, of which 242 bytes can be 300 MiB."""
    return io.BufferedReader(Decompressed(file, bz2.BZ2Decompressor), CHUNK_BYTES)


class Decompressed(io.RawIOBase):
    """A compressed file, decompressed piece by piece: never more output at once than asked for."""

    def __init__(self, file: IO[bytes], start: Any) -> None:
        self._compressed = file
        self._start = start  # makes a decompressor with the interface that bz2, lzma and zstd share
        self._decompressor = start()
        self._ahead = b""

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one step of the decompressor does; 0 at the end. EOFError if it comes early."""
        data = b""
        while not data:
            if self._decompressor.eof:  # of one stream; several may follow each other
                self._ahead = self._decompressor.unused_data or self._compressed.read(CHUNK_BYTES)
                if not self._ahead.strip(b"\0"):
                    return 0
                self._decompressor = self._start()
            elif self._decompressor.needs_input:
                self._ahead = self._ahead or self._compressed.read(CHUNK_BYTES)
                if not self._ahead:
                    raise EOFError("it breaks off inside its compressed data")
            given, self._ahead = self._ahead, b""
            data = self._decompressor.decompress(given, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the compressed file, too."""
        self._compressed.close()
        super().close()


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(memlimit=MAX_DICTIONARY_BYTES)


def _zstd_decompressor(path: Path) -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found]  # Python 3.14
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise UserError(
                f"--source: archive '{path}' is compressed with zstd, which this Python cannot read. "
                "Run `pip install backports.zstd`, or decompress it with `zstd -d`."
            ) from None
    return zstd.ZstdDecompressor
