"""Datasets in the formats of the Hugging Face Hub, made and read by the `datasets` library, without a connection."""

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gan.errors import UserError
from pipeline.data.sources import open_source
from tests.unit.data.pictures import animation, encoded, good_files, pixels, png, write_folder
from tests.unit.data.sources import contents, found, loaded, rejection

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def write_parquet(path: Path, images: list[Any], **columns: list[Any]) -> Path:
    """Write encoded images as the Hub stores them."""
    features = datasets.Features({"image": datasets.Image(), **{name: datasets.Value("int64") for name in columns}})
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [data if data is None or isinstance(data, dict) else {"bytes": data, "path": None} for data in images]
    table = pa.table({"image": pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()})), **columns})
    pq.write_table(table.cast(features.arrow_schema), path)
    return path


def test_parquet_file_has_the_images_of_the_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "folder", good_files())
    path = write_parquet(tmp_path / "faces.parquet", list(good_files().values()), label=[1] * 10)
    assert contents(f"hf:{path}") == contents(tmp_path / "folder")
    source = open_source(f"hf:{path}")
    assert (source.kind, source.default_name) == ("hf", "faces")
    assert [item.name for item in source.items()][:2] == ["train[0]", "train[1]"]


def test_folder_of_parquet_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set/train-00000-of-00002.parquet", [png(0), png(1)])
    write_parquet(tmp_path / "set/train-00001-of-00002.parquet", [png(2)])
    write_parquet(tmp_path / "set/test-00000-of-00001.parquet", [png(3)])
    assert contents(f"hf:{tmp_path}/set") == sorted(pixels(index).tobytes() for index in range(3))
    assert contents(f"hf:{tmp_path}/set,split=test") == [pixels(3).tobytes()]
    assert len(found(f"hf:{tmp_path}/set,split=train+test")) == 4


def test_folder_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "set/train", good_files(6))
    monkeypatch.chdir(tmp_path)
    assert contents("hf:./set") == contents(tmp_path / "set/train")
    assert all(item.num_bytes == 0 for item in found("hf:./set"))  # read where they are loaded


def test_images_go_through_the_rule_of_this_project(tmp_path: Path) -> None:
    wide = encoded(Image.fromarray(pixels(1, 64, 200)))
    path = write_parquet(tmp_path / "x.parquet", [animation("GIF"), png(1)[:3000], b"text", b"", None, wide])
    items = found(f"hf:{path}")
    assert [rejection(item).kind for item in items[:5]] == ["animated", "damaged", "not an image", "empty", "empty"]
    assert np.array_equal(loaded(pickle.loads(pickle.dumps(items[5]))), pixels(1, 64, 200)[:, 68:132])  # noqa: S301


def test_rows_may_not_point_at_other_files(tmp_path: Path) -> None:
    write_folder(tmp_path, {"secret.png": png(9), "set/own.png": png(1)})
    cells = [
        {"bytes": None, "path": str(tmp_path / name)} for name in ("secret.png", "set/own.png", "set/../secret.png")
    ]
    (tmp_path / "set/link.png").symlink_to(tmp_path / "secret.png")
    cells.append({"bytes": None, "path": str(tmp_path / "set/link.png")})
    path = write_parquet(tmp_path / "set/x.parquet", cells)
    first, own, *others = found(f"hf:{path}")
    assert np.array_equal(loaded(own), pixels(1))
    assert {rejection(item).reason for item in (first, *others)} == {
        "names a file that is missing or not the dataset's own"
    }


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "x.parquet", [png(0)])
    first = open_source(f"hf:{path}").fingerprint
    assert open_source(f"hf:{path}").fingerprint == first
    write_parquet(path, [png(1), png(2)])
    assert open_source(f"hf:{path}").fingerprint != first


def test_column_is_asked_for(tmp_path: Path) -> None:
    features = datasets.Features(
        {"left": datasets.Image(), "right": datasets.Image(), "label": datasets.Value("int64")}
    )
    cells = {name: [{"bytes": png(seed), "path": None}] for name, seed in (("left", 1), ("right", 2))}
    rows = datasets.Dataset.from_dict({**cells, "label": [1]}, features=features)
    rows.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"several columns of images. Give column=NAME, one of: left, right"):
        open_source(f"hf:{tmp_path}/x.parquet")
    with pytest.raises(UserError, match=r"no column 'label' of images"):
        open_source(f"hf:{tmp_path}/x.parquet,column=label")
    assert contents(f"hf:{tmp_path}/x.parquet,column=right") == [pixels(2).tobytes()]


def test_table_without_images_lists_its_columns(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"], "label": [1]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"no column of images, only: text \(Value\), label \(Value\)"):
        open_source(f"hf:{tmp_path}/x.parquet")


def test_splits_are_asked_for(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set/test-00000-of-00001.parquet", [png(3)])
    write_parquet(tmp_path / "set/validation-00000-of-00001.parquet", [png(4)])
    with pytest.raises(UserError, match=r"has several splits. Give split=NAME, one of: validation, test"):
        open_source(f"hf:{tmp_path}/set")
    with pytest.raises(UserError, match=r'cannot be loaded: Unknown split "train"'):
        open_source(f"hf:{tmp_path}/set,split=train")


def test_code_of_a_dataset_never_runs(tmp_path: Path) -> None:
    script = f"open({str(tmp_path / 'mark')!r}, 'w')"
    write_folder(tmp_path, {"set/set.py": script.encode(), "set/a.png": png(1)})
    for path in ("set", "set/set.py"):
        with pytest.raises(UserError, match="Dataset scripts are no longer supported"):
            open_source(f"hf:{tmp_path / path}")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "spec", ["hf:nobody/nothing", "hf:nothing", "hf:./missing", "hf:a/b/c", "hf:nobody/n,revision=x"]
)
def test_offline_or_unknown_is_one_line(spec: str) -> None:
    with pytest.raises(UserError, match=r"cannot be loaded: .*Check the name, its options and the connection") as error:
        open_source(spec)
    assert "\n" not in str(error.value)


def test_without_the_library_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"Run `pip install 'gan-benchmark\[hf\]'`"):
        open_source("hf:nobody/nothing")
