"""Arrays of images in .npy and .npz files. Pickles are never read: arrays of objects are refused."""

import functools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from gan.errors import UserError
from pipeline.data.decoding import MAX_FILE_BYTES, canonical, too_large
from pipeline.data.items import Item, Loaded, Pixels, Rejected, Rule, Source, reject
from pipeline.data.members import shown_name
from pipeline.data.specs import parse_spec
from pipeline.data.zips import DAMAGE

CHANNELS = (1, 3)
SHAPES = "[N, H, W, 3], [N, H, W, 1], [N, H, W], [N, 3, H, W] or [N, 1, H, W]"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes; both unfold in bounded pieces


@dataclass(frozen=True)
class Layout:
    """How the images of an array lie: row = one image as stored, uint8 of this shape; axes make it [H, W, C]."""

    num_images: int
    row: tuple[int, ...]
    axes: tuple[int, int, int]

    @property
    def row_bytes(self) -> int:
        """Bytes of one image."""
        return int(np.prod(self.row, dtype=object))


def open_npy(spec: str) -> Source | None:
    """Give the images of a .npy file, read one by one where they are loaded. Its name may do without "npy:"."""
    path = _path(spec, "npy")
    if path is None:
        return None
    with _open(path, spec) as file:
        layout = _read_layout(file, spec)
        start = file.tell()
        present = path.stat().st_size - start
    if present < layout.num_images * layout.row_bytes:
        raise _damaged(spec, f"its header claims {layout.num_images * layout.row_bytes:,} bytes, {present:,} are there")
    return _source(spec, path, None, layout, functools.partial(_npy_items, path, layout, start))


def open_npz(spec: str) -> Source | None:
    """Give the images of one array of a .npz file, read in blocks. Its name may do without "npz:".

    Option key: the array's name, needed if there are several.
    """
    path = _path(spec, "npz")
    if path is None:
        return None
    parsed = parse_spec(spec, "npz", ("key",))
    key = _choose_key(path, spec, parsed.options.get("key") if parsed else None)
    with _open_member(path, key, spec) as file:
        layout = _read_layout(file, spec)
    return _source(spec, path, key, layout, functools.partial(_npz_items, path, key, spec, layout))


def array_item(name: str, pixels: Pixels) -> Item:
    """Make uint8 [H, W, 3], [H, W, 1] or [H, W] in memory an item."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    load = functools.partial(_load_bytes, pixels.tobytes(), Layout(1, pixels.shape, (0, 1, 2)))
    return Item(name, load, pixels.nbytes)


def layout_of(shape: tuple[int, ...], spec: str) -> Layout:
    """Read a shape as images. UserError if it can be read in no way or in two."""
    if any(length < 1 for length in shape[1:]):
        raise UserError(f"--source: '{spec}': images have no pixels: shape {list(shape)}. Give {SHAPES}.")
    if len(shape) == 3 and shape[-1] not in (*CHANNELS, 4):
        return Layout(shape[0], (*shape[1:], 1), (0, 1, 2))
    if len(shape) == 4:
        last, first = shape[3] in CHANNELS, shape[1] in CHANNELS
        if last and not first:
            return Layout(shape[0], shape[1:], (0, 1, 2))
        if first and not last:
            return Layout(shape[0], shape[1:], (1, 2, 0))
    raise UserError(f"--source: '{spec}': array must have a shape like {SHAPES}, got {list(shape)}. Reshape it.")


def _path(spec: str, kind: str) -> Path | None:
    """Return the file that a spec of `kind` names, or None if the spec is of another kind."""
    parsed = parse_spec(spec, kind, ("key",) if kind == "npz" else ())
    path = Path(parsed.what if parsed else spec)
    if parsed is None and not (path.suffix == f".{kind}" and path.is_file()):
        return None
    if not path.is_file():
        raise UserError(f"--source: '{spec}': there is no file '{path}'. Give the path of a .{kind} file.")
    return path


def _source(spec: str, path: Path, key: str | None, layout: Layout, items: Any) -> Source:
    status = path.stat()
    return Source(
        spec=spec,
        kind="array",
        default_name=path.stem if key is None else f"{path.stem}-{key}",
        fingerprint={
            "kind": "array",
            "name": path.name,
            "key": key,
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
        },
        count=lambda: layout.num_images,
        items=items,
        default_num_images=None,
        licence={},
    )


def _read_layout(file: IO[bytes], spec: str) -> Layout:
    """Read the header of an array and check it. Never more than numpy's 10,000 bytes of it; nothing is evaluated."""
    try:
        version = npy.read_magic(file)
        shape, fortran_order, dtype = _HEADERS[version](file)
    except KeyError as error:
        raise _damaged(spec, f"format version {version} is not known") from error
    except Exception as error:  # numpy's parser raises nearly anything on damaged headers
        raise _damaged(spec, f"it has no header of an array ({error})") from error
    if dtype.hasobject:
        raise UserError(f"--source: '{spec}': holds Python objects, which are never unpickled. Save uint8 pixels.")
    if dtype != np.uint8:
        raise UserError(f"--source: '{spec}': must be uint8, 0 to 255, got {dtype}. Scale it and save it as uint8.")
    if fortran_order:
        raise UserError(f"--source: '{spec}': is in Fortran order. Save numpy.ascontiguousarray of it.")
    return layout_of(shape, spec)


def _npy_items(path: Path, layout: Layout, start: int) -> Iterator[Item]:
    for index in range(layout.num_images):
        load = functools.partial(_load_row, path, layout, start + index * layout.row_bytes)
        yield Item(shown_name(f"{path.name}[{index}]"), load)


def _npz_items(path: Path, key: str, spec: str, layout: Layout) -> Iterator[Item]:
    with _open_member(path, key, spec) as file:
        _read_layout(file, spec)
        for index in range(layout.num_images):
            name = shown_name(f"{path.name}:{key}[{index}]")
            if layout.row_bytes > MAX_FILE_BYTES:
                verdict = too_large(layout.row_bytes)
                yield Item(name, functools.partial(reject, verdict.kind, verdict.reason))
                continue
            try:
                data = file.read(layout.row_bytes)
            except DAMAGE as error:
                raise _damaged(spec, str(error)) from error
            if len(data) < layout.row_bytes:
                raise _damaged(spec, f"its header claims {layout.num_images} images, {index} are there")
            yield Item(name, functools.partial(_load_bytes, data, layout), len(data))


def _load_row(path: Path, layout: Layout, offset: int, rule: Rule) -> Loaded:
    if layout.row_bytes > MAX_FILE_BYTES:
        raise too_large(layout.row_bytes)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(layout.row_bytes)
    except OSError as error:
        raise Rejected("unreadable", f"cannot be read: {error.strerror}") from error
    if len(data) < layout.row_bytes:
        raise Rejected("damaged", "damaged: the file has become shorter")
    return _load_bytes(data, layout, rule)


def _load_bytes(data: bytes, layout: Layout, rule: Rule) -> Loaded:
    pixels = np.frombuffer(data, np.uint8).reshape(layout.row).transpose(layout.axes)
    if pixels.shape[2] == 1:
        return canonical(np.repeat(pixels, 3, axis=2), rule, ("grey",))
    return canonical(np.ascontiguousarray(pixels), rule)


def _choose_key(path: Path, spec: str, key: str | None) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [member.filename for member in archive.infolist()]
    except DAMAGE as error:
        raise _damaged(spec, str(error)) from error
    keys = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    if key is None and len(keys) == 1:
        return keys[0]
    if key not in keys:
        problem = "holds several arrays" if key is None else f"holds no array '{key}'"
        choices = ", ".join(shown_name(each) for each in keys[:20]) or "none"
        raise UserError(f"--source: '{spec}': {problem}. Give key=NAME, one of: {choices}.")
    return key


def _open_member(path: Path, key: str, spec: str) -> IO[bytes]:
    try:
        with zipfile.ZipFile(path) as archive:  # an open member keeps the file open
            member = archive.getinfo(f"{key}.npy")
            if member.compress_type not in _COMPRESSIONS:
                raise UserError(f"--source: '{spec}': is compressed in another way than numpy does. Save it again.")
            return archive.open(member)
    except (*DAMAGE, RuntimeError) as error:
        raise _damaged(spec, str(error)) from error


def _open(path: Path, spec: str) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"--source: '{spec}': cannot be read: {error.strerror}. Allow reading it.") from error


def _damaged(spec: str, reason: str) -> UserError:
    return UserError(f"--source: '{spec}': is damaged: {reason}. Download or save it again.")
