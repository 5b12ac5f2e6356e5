"""Whatever stands in a checkpoint, a generator, a file of weights or a cache: what it says, or one line.

Checksums are made to fit, as whoever wants to deceive would: so that what lies behind them is reached.
"""

import hashlib
import io
import json
import pickle
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from gan.checkpoints import FORMAT, Checkpoints
from gan.sampling import load_generator
from pipeline.config import load_experiment
from pipeline.metrics.backbones import read_weights
from pipeline.metrics.feature_files import read_features, write_features
from tests.fuzz.harness import Change, changed, changes, fuzzed, refused

CPU = torch.device("cpu")
SHAPE = (5, 3)
TENSORS: dict[str, Any] = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "flags": torch.tensor([True, False]),
}
CHECKPOINT = {
    "step": 3,
    "generator": TENSORS,
    "optimizer": {0: {"step": torch.tensor(1.0)}},
    "best_value": float("inf"),
}
GENERATOR = {"format": 1, "step": 3, "config": load_experiment("dcgan").to_dict(), "weights": TENSORS}


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def written(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(content: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return buffer.getvalue()


OTHERS = [members(written(content)) for content in (CHECKPOINT, GENERATOR, TENSORS)]
NAMES = sorted({name for other in OTHERS for name in other})
PICKLES = [
    b"\x80", b"c", b"cbuiltins\neval\n", b"cbuiltins\nbytearray\n", b"cos\nsystem\n", b"(", b"t", b"R", b"b", b"Q",
    b".", b"}", b"]", b"\x8a\xff", b"J\xff\xff\xff\x7f", b"K\x00", b"N", b"q\x00", b"h\x00", b"\x85",
    b"X\xff\xff\xff\xff",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n",
]  # fmt: skip
JSON_PIECES = [b"[" * 3000, b"1e999", b"null", b'"', b"{}", b"\xff", b'"\\ud800"', b"-1", b"true"]


@st.composite
def spliced(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return the archive with members that are missing, changed, from other files, compressed, or named twice."""
    parts = dict(members(whole))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(parts) or ["x"]))
        act = draw(st.sampled_from(["drop", "change", "change pickle", "swap", "rename"]))
        if act == "drop":
            parts.pop(name, None)
        elif act == "change":
            parts[name] = changed(parts.get(name, b""), draw(changes(most=2)))
        elif act == "change pickle":
            pickled = next((each for each in parts if each.endswith("data.pkl")), name)
            parts[pickled] = changed(parts.get(pickled, b""), draw(changes(most=3, piece=st.sampled_from(PICKLES))))
        elif act == "swap":
            other = draw(st.sampled_from(OTHERS))
            parts[name] = other[draw(st.sampled_from(sorted(other)))]
        else:
            parts[draw(st.sampled_from(NAMES) | st.text(min_size=1, max_size=6))] = parts.pop(name, b"")
    compression = draw(st.sampled_from([zipfile.ZIP_STORED] * 9 + [zipfile.ZIP_DEFLATED]))
    return archive(
        {name.encode("utf-8", "replace").decode().replace("\0", "0"): data for name, data in parts.items()}, compression
    )


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Return random bytes, or the file cut short, with changed bytes or with changed members."""
    return st.one_of(
        st.binary(max_size=300),
        st.integers(0, len(whole)).map(lambda length: whole[:length]),
        changes().map(lambda todo: changed(whole, todo)),
        spliced(whole),
    )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def described(content: bytes) -> bytes:
    """Return the JSON that makes a checkpoint valid."""
    checksum = hashlib.sha256(content).hexdigest()
    found = {"format": FORMAT, "step": 3, "best_step": 2, "fingerprint": "f", "sha256": checksum}
    return json.dumps(found).encode()


def checkpoint(folder: Path, content: bytes, description: bytes | None = None) -> Checkpoints:
    (folder / "step-000000003.pt").write_bytes(content)
    (folder / "step-000000003.json").write_bytes(described(content) if description is None else description)
    return Checkpoints(folder, "f")


def test_untouched_ones_are_accepted(folder: Path) -> None:
    assert not refused(checkpoint(folder, written(CHECKPOINT)).load_latest)
    assert checkpoint(folder, archive(OTHERS[0])).load_latest() is not None, "the splicing itself does no harm"


@fuzzed
@given(content=damaged(written(CHECKPOINT)))
@example(content=archive(OTHERS[0], zipfile.ZIP_DEFLATED))
@example(content=written([1, 2]))
@example(content=pickle.dumps(Payload(Path("written-by-a-payload"))))
def test_checkpoints(content: bytes, folder: Path) -> None:
    refused(checkpoint(folder, content).load_latest)
    assert not Path("written-by-a-payload").exists()


@fuzzed
@given(
    description=st.binary(max_size=50)
    | changes(piece=st.sampled_from(JSON_PIECES)).map(lambda todo: changed(described(written(CHECKPOINT)), todo))
)
@example(description=b"[" * 3000)
@example(description=b'{"best_step": [1]}')
@example(description=b'{"best_step": 1e999}')
def test_descriptions_of_checkpoints(description: bytes, folder: Path) -> None:
    checkpoints = checkpoint(folder, written(CHECKPOINT), description)
    refused(checkpoints.load_latest)
    refused(lambda: checkpoints.save(4, {"step": 4}))


@fuzzed
@given(content=damaged(written(GENERATOR)))
@example(content=written(GENERATOR | {"weights": {1: TENSORS["weight"]}}))
@example(content=written(GENERATOR | {"step": float("inf"), "weights": {}}))
@example(content=written(GENERATOR | {"config": {1: {"a": torch.zeros(1)}}}))
def test_generators(content: bytes, folder: Path) -> None:
    (folder / "last.pt").write_bytes(content)
    refused(lambda: load_generator(folder / "last.pt", CPU))


@fuzzed
@given(content=damaged(written(TENSORS)))
def test_weights(content: bytes, folder: Path) -> None:
    (folder / "weights.pth").write_bytes(content)
    refused(lambda: read_weights(folder / "weights.pth", source="--weights", remedy="get another one."))


def cached(folder: Path) -> bytes:
    write_features(folder / "cache.npy", np.ones(SHAPE, np.float32))
    return (folder / "cache.npy").read_bytes()[:-32]


@fuzzed
@given(todo=changes(), resealed=st.booleans(), random=st.binary(max_size=200) | st.none())
@example(todo=[(0, 0, b"")], resealed=True, random=b"PK\x03\x04")
@example(todo=[(0, 0, b"")], resealed=True, random=pickle.dumps({}))
def test_caches_of_features(todo: list[Change], resealed: bool, random: bytes | None, folder: Path) -> None:
    body = changed(cached(folder), todo) if random is None else random
    seal = hashlib.sha256(body if resealed else b"other").digest()
    (folder / "cache.npy").write_bytes(body + seal)
    found = read_features(folder / "cache.npy", SHAPE)
    assert found is None or (found.shape == SHAPE and found.dtype == np.dtype(np.float32))


@pytest.mark.parametrize("shape", ["(10**12,)", "(1000000000000,)", "(99999999, 99999999)", "(-5, 3)", "(5, 3, 1)"])
def test_a_cache_that_says_it_is_huge_takes_no_memory(shape: str, folder: Path) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    body = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(60)
    (folder / "cache.npy").write_bytes(body + hashlib.sha256(body).digest())
    assert read_features(folder / "cache.npy", SHAPE) is None
