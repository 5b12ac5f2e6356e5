"""Real image files, good and broken, for the tests of the data stage."""

import io
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = dict[str, bytes]


def pixels(seed: int, height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(seed: int) -> bytes:
    return encoded(Image.fromarray(pixels(seed)))


def good_files(count: int = 10) -> Bytes:
    return {f"{'ab'[k % 2]}/{k:04d}.png": png(k) for k in range(count)}


def animation(kind: str) -> bytes:
    frames = [Image.fromarray(pixels(k)) for k in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def png_header_of(width: int, height: int) -> bytes:
    """Make a small file that claims to be an enormous picture."""
    tiny = encoded(Image.new("1", (width, 1)))
    header = tiny[:20] + height.to_bytes(4, "big") + tiny[24:29]
    return header + zlib.crc32(header[12:29]).to_bytes(4, "big") + tiny[33:]


def broken_files() -> dict[str, tuple[bytes, str]]:
    """Name -> (content, what the reason for rejecting must contain)."""
    return {
        "empty.png": (b"", "empty file"),
        "half.png": (png(1)[:5000], "damaged"),
        "half.jpg": (encoded(Image.fromarray(pixels(1)), "JPEG")[:1500], "damaged"),
        "noise.jpg": (bytes(range(256)) * 4, "not an image"),
        "labels.csv": (b"file,label\n0000.png,1\n", "not an image"),
        "page.eps": (encoded(Image.fromarray(pixels(2)), "EPS"), "not an image"),
        "moving.gif": (animation("GIF"), "3 frames"),
        "moving.png": (animation("PNG"), "3 frames"),
        "moving.webp": (animation("WEBP"), "3 frames"),
        "document.tiff": (animation("TIFF"), "3 frames or pages"),
        "bomb.png": (png_header_of(20000, 20000), "too many pixels"),
        "suspicious.png": (png_header_of(10000, 10000), "too many pixels"),
        "depth.tiff": (encoded(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF"), "floating-point"),
        "wide.tiff": (encoded(Image.fromarray(np.full((8, 8), 70000, np.int32)), "TIFF"), "32-bit"),
    }


def write_folder(folder: Path, files: Bytes) -> str:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder)


def write_zip(path: Path, files: Bytes) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(path)


def write_tar(path: Path, files: Bytes) -> str:
    """Write a tar file, compressed as its suffix says."""
    compression = {".gz": "gz", ".tgz": "gz", ".bz2": "bz2", ".xz": "xz"}.get(path.suffix, "")
    with tarfile.open(path, f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)
