"""Published datasets: torchvision's own classes read files in the formats of the publishers, made here.

What torchvision checks by checksum can only be read with the checksums of these files in its tables; everything else
is as it runs for a user. Nothing is downloaded: the addresses lead nowhere.
"""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from numpy.typing import NDArray
from scipy.io import savemat

from gan.errors import UserError
from pipeline.data.items import Rule
from pipeline.data.sources import open_source
from pipeline.data.torchvision_sets import PUBLISHED, default_root
from tests.unit.data.pictures import pixels, png, write_folder
from tests.unit.data.sources import found, loaded
from tests.unit.data.test_arrays import Payload

NOWHERE = "http://127.0.0.1:9/"


def images(count: int, side: int) -> NDArray[np.uint8]:
    return np.stack([pixels(index, side, side) for index in range(count)])


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()  # noqa: S324


def write_mnist(folder: Path, digits: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        count = len(digits) if part == "train" else 1
        head = b"\x00\x00\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, *digits.shape[1:]))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + digits[:count].tobytes())
        labels = b"\x00\x00\x08\x01" + count.to_bytes(4, "big") + bytes(count)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


def write_cifar(root: Path, colours: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rows = colours.transpose(0, 3, 1, 2).reshape(len(colours), -1)
    for name, part in (("data_batch_1", rows), ("data_batch_2", rows[:1]), ("test_batch", rows[:2])):
        (folder / name).write_bytes(pickle.dumps({"data": part, "labels": [0] * len(part)}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["a"]}))
    published = torchvision.datasets.CIFAR10
    lists = {"train_list": ["data_batch_1", "data_batch_2"], "test_list": ["test_batch"]}
    for attribute, names in lists.items():
        monkeypatch.setattr(published, attribute, [[name, md5(folder / name)] for name in names])
    monkeypatch.setattr(published, "meta", {**published.meta, "md5": md5(folder / "batches.meta")})


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_mnist_and_its_like(name: str, tmp_path: Path) -> None:
    digits = images(5, 28)[..., 0]
    write_mnist(tmp_path / name / "raw", digits)
    items = found(f"torchvision:{name},root={tmp_path}")
    assert [item.name for item in items] == [f"train[{index}]" for index in range(5)]
    for item, digit in zip(items, digits, strict=True):
        image = pickle.loads(pickle.dumps(item.load))(Rule(28))  # noqa: S301
        assert np.array_equal(image.pixels, np.repeat(digit[..., None], 3, 2))
        assert image.notes == ("grey",)
    assert len(found(f"torchvision:{name},split=test,root={tmp_path}")) == 1


def test_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colours = images(4, 32)
    write_cifar(tmp_path, colours, monkeypatch)
    source = open_source(f"torchvision:CIFAR10,root={tmp_path}")
    expected = [*colours, colours[0]]
    assert all(np.array_equal(loaded(a, Rule(32)), b) for a, b in zip(source.items(), expected, strict=True))
    assert source.default_name == "CIFAR10"
    assert source.licence == {"work_url": "https://www.cs.toronto.edu/~kriz/cifar.html"}
    assert open_source(f"torchvision:CIFAR10,root={tmp_path},split=test").count() == 2


def test_pickle_that_is_not_as_published_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    write_cifar(tmp_path, images(2, 32), monkeypatch)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", NOWHERE + "cifar-10-python.tar.gz")
    for name in ("data_batch_1", "batches.meta"):
        (tmp_path / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(UserError, match=r"not complete in .*the download failed: .*Check the connection, or copy"):
        open_source(f"torchvision:CIFAR10,root={tmp_path}")
    assert not mark.exists()


def test_pickles_of_old_torchvisions_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST/raw", images(1, 28)[..., 0])
    (tmp_path / "MNIST/processed").mkdir()
    with pytest.raises(UserError, match=r"holds pickles of an old torchvision, which are not read. Delete"):
        open_source(f"torchvision:MNIST,root={tmp_path}")


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = images(3, 32)
    savemat(tmp_path / "train_32x32.mat", {"X": numbers.transpose(1, 2, 3, 0), "y": np.ones((3, 1))})
    checked = [NOWHERE, "train_32x32.mat", md5(tmp_path / "train_32x32.mat")]
    monkeypatch.setitem(torchvision.datasets.SVHN.split_list, "train", checked)
    items = found(f"torchvision:SVHN,root={tmp_path}")
    assert all(np.array_equal(loaded(a, Rule(32)), b) for a, b in zip(items, numbers, strict=True))


def test_stl10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    things = images(2, 96)
    published: Any = torchvision.datasets.STL10
    folder = tmp_path / published.base_folder
    columns = things.transpose(0, 3, 2, 1)  # stored column by column
    for attribute in ("train_list", "test_list"):
        names = [name for name, _ in getattr(published, attribute)]
        write_folder(folder, {name: columns.tobytes() if "_X" in name else b"\1\1" for name in names})
        monkeypatch.setattr(published, attribute, [[name, md5(folder / name)] for name in names])
    write_folder(folder, {"class_names.txt": b"bird\n", "fold_indices.txt": b"0\n"})
    for split, count in (("train", 2), ("unlabeled", 2), ("train+unlabeled", 4)):
        items = found(f"torchvision:STL10,split={split},root={tmp_path}")
        assert len(items) == count
        assert np.array_equal(loaded(items[1], Rule(96)), things[1])


def test_celeba(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "celeba"
    names = [f"{index:06d}.jpg" for index in range(1, 4)]
    lines = {
        "list_eval_partition.txt": [f"{name} {index % 2}" for index, name in enumerate(names)],
        "identity_CelebA.txt": [f"{name} 1" for name in names],
    }
    for table in ("list_bbox_celeba.txt", "list_landmarks_align_celeba.txt", "list_attr_celeba.txt"):
        lines[table] = ["3", "a b", *(f"{name} 1 1" for name in names)]
    write_folder(folder, {name: "\n".join(text).encode() for name, text in lines.items()})
    write_folder(folder / "img_align_celeba", {name: png(index) for index, name in enumerate(names)})
    monkeypatch.setattr(torchvision.datasets.CelebA, "file_list", [("id", md5(folder / name), name) for name in lines])
    items = found(f"torchvision:CelebA,split=all,root={tmp_path}")
    assert [item.name for item in items] == names
    assert all(np.array_equal(loaded(item), pixels(index)) for index, item in enumerate(items))
    assert [item.name for item in found(f"torchvision:CelebA,root={tmp_path}")] == [names[0], names[2]]


def test_fingerprint_follows_the_pixels(tmp_path: Path) -> None:
    prints = []
    for index in range(2):
        write_mnist(tmp_path / str(index) / "MNIST/raw", images(2 + index, 28)[index:, ..., 0])
        prints.append(open_source(f"torchvision:MNIST,root={tmp_path / str(index)}").fingerprint)
    assert prints[0] != prints[1]


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST/raw", images(1, 28)[..., 0])
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"\x00\x00\x08\x03" + bytes(10))
    with pytest.raises(UserError, match=r"^--source: 'torchvision:MNIST,root=.*': not complete"):
        open_source(f"torchvision:MNIST,root={tmp_path}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:Cifar10", "must be one of CIFAR10, CIFAR100, MNIST.*Did you mean 'CIFAR10'"),
        ("torchvision:datasets", "must be one of"),
        ("torchvision:CIFAR10,split=val", "split must be one of train, test, got 'val'"),
    ],
)
def test_what_is_not_in_the_table_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(spec)


def test_every_name_of_the_table_is_a_class_that_downloads() -> None:
    for name in PUBLISHED:
        assert "download" in getattr(torchvision.datasets, name).__init__.__annotations__


def test_files_lie_in_torchs_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert default_root() == tmp_path / "datasets"


def test_heavy_libraries_are_imported_when_needed() -> None:
    code = "import sys, pipeline.data.sources; print(*{'torch', 'torchvision', 'datasets', 'py7zr'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == ""
