"""Whatever stands in a dataset's manifest or before its pixels: a dataset, or one line that says it is damaged."""

import json
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.data.dataset import load_dataset
from pipeline.prepare import prepare
from tests.fuzz.harness import Change, changed, changes, fuzzed, refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
SNIPPETS = st.sampled_from([
    b"[" * 3000, b'{"a":' * 3000, b"1e999", b"-1", b"9" * 5000, b"NaN", b'"\\ud800"', b'"\\u0000"', b"\xff", b"0.5",
    b"true", b"null", b"{}", b"[]", b",", b'"', b"}", b'"digest": "\\ud800",', b'"num_images": 1e9,', b'"format": 2,',
]) | st.binary(max_size=3)  # fmt: skip


def npy(header: str, body: bytes, version: tuple[int, int] = (1, 0)) -> bytes:
    """Return a .npy file with any header."""
    text = header.encode("utf-8", "surrogatepass") + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + body


@dataclass(frozen=True)
class Prepared:
    """A dataset as `prepare` makes it, and what its files hold."""

    folder: Path
    manifest: dict[str, Any]
    images: bytes
    pixels: np.ndarray

    def check(self, manifest: bytes | None = None, images: bytes | None = None) -> bool:
        """Open it with other files and read what stages read of it; return whether it was refused."""
        whole = json.dumps(self.manifest).encode()
        (self.folder / "manifest.json").write_bytes(whole if manifest is None else manifest)
        (self.folder / "images.npy").write_bytes(self.images if images is None else images)
        return refused(self._read)

    def _read(self) -> None:
        dataset = load_dataset("faces", self.folder.parent)
        assert (len(dataset.images) + len(dataset.held_out), *dataset.images.shape[1:]) == self.pixels.shape
        assert dataset.images.dtype == np.uint8
        np.asarray(dataset.images).sum()
        np.asarray(dataset.held_out).sum()
        assert dataset.digest.encode()


@pytest.fixture(scope="module")
def faces() -> Iterator[Prepared]:
    with tempfile.TemporaryDirectory() as root:
        prepare(name="faces", num_images=5, image_size=8, held_out=1, root=Path(root), num_workers=1, progress=False)
        folder = Path(root) / "faces"
        manifest, images = (folder / "manifest.json").read_bytes(), (folder / "images.npy").read_bytes()
        yield Prepared(folder, json.loads(manifest), images, np.load(folder / "images.npy"))


def test_the_untouched_one_is_accepted(faces: Prepared) -> None:
    assert not faces.check()


@fuzzed
@given(manifest=st.binary(max_size=200))
@example(manifest=b"[" * 3000)
def test_random_manifests(manifest: bytes, faces: Prepared) -> None:
    faces.check(manifest)


@fuzzed
@given(todo=changes(piece=SNIPPETS))
def test_changed_manifests(todo: list[Change], faces: Prepared) -> None:
    faces.check(changed(json.dumps(faces.manifest).encode(), todo))


KEYS = ["format", "name", "digest", "num_images", "num_held_out", "image_size", "sources", "counts", "request", "other"]


@fuzzed
@given(key=st.sampled_from(KEYS), value=JSON, missing=st.booleans())
@example(key="digest", value="\ud800", missing=False)
def test_manifests_with_other_values(key: str, value: object, missing: bool, faces: Prepared) -> None:
    content = {name: each for name, each in faces.manifest.items() if not (missing and name == key)}
    faces.check(json.dumps(content if missing else content | {key: value}).encode())


@fuzzed
@given(images=st.binary(max_size=200) | changes(piece=SNIPPETS))
def test_changed_images(images: bytes | list[Change], faces: Prepared) -> None:
    faces.check(images=images if isinstance(images, bytes) else changed(faces.images, images))


SHAPES = st.lists(st.integers(-2, 10) | st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, 10**30]), max_size=5)
DTYPES = ["|u1", "<f4", "|O", "O8", "<U9999999999", "|V0", "|S0", "<M8[ns]", "x", "", "|u1,|u1", "|i1", "|b1", "\ud800"]


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@fuzzed
@given(
    shape=SHAPES | st.just([5, 8, 8, 3]),
    dtype=st.sampled_from(DTYPES),
    fortran=st.sampled_from(["False", "True", "1", "None"]),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0), (4, 0)]),
    rest=changes(most=2, piece=SNIPPETS) | st.just([]),
)
@example(shape=[10**30], dtype="|u1", fortran="False", version=(1, 0), rest=[])
@example(shape=[5], dtype="|S0", fortran="False", version=(1, 0), rest=[])
@example(shape=[5, 8, 8, 3], dtype="|u1", fortran="False", version=(1, 0), rest=[(0, 0, b"(" * 3000)])
@example(shape=[5, 8, 8, 3], dtype="|u1", fortran="False", version=(1, 0), rest=[(1, 100, b"")])
def test_headers_of_images(
    shape: list[int], dtype: str, fortran: str, version: tuple[int, int], rest: list[Change], faces: Prepared
) -> None:
    header = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {tuple(shape)!r}, }}"
    text = changed(header.encode("utf-8", "surrogatepass"), rest).decode("utf-8", "replace")
    faces.check(images=npy(text, faces.pixels.tobytes(), version))
