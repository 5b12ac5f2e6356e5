"""Datasets and weights that travel: whole or not at all, the same bytes, once."""

import threading
from pathlib import Path

import pytest

from gan.errors import UserError
from pipeline.sharing.inputs import Input, fetch_input, share, share_file
from pipeline.tracking import Store, connect


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return one store for all: to make one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("store"))
        return connect()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    (folder / "images.npy").write_bytes(bytes(range(256)) * 40)
    (folder / "manifest.json").write_text("{}")
    return folder


KEY = "a" * 64


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "files.json"}


@pytest.mark.parametrize("by_folder", [True, False])
def test_what_arrives_is_what_was_stored(store: Store, source: Path, tmp_path: Path, by_folder: bool) -> None:
    shared = tmp_path / "nfs" if by_folder else None
    wanted = share("tiny", KEY, source, store, shared)
    assert share("tiny", KEY, source, store, shared) == wanted  # stored once
    folder = fetch_input(wanted, store, tmp_path / "node")
    assert folder.name == "tiny"
    assert contents(folder) == contents(source)
    runs = store.find({"stage": "input", "key": KEY})
    assert len(runs) == (0 if by_folder else 1)


def test_it_is_fetched_once_also_by_many_at_once(store: Store, source: Path, tmp_path: Path) -> None:
    wanted = share("tiny", KEY, source, store, tmp_path / "nfs")
    threads = [threading.Thread(target=fetch_input, args=(wanted, store, tmp_path / "node")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = fetch_input(wanted, store, tmp_path / "node")
    number = (folder / "images.npy").stat().st_ino
    (wanted.folder or Path()).joinpath("images.npy").unlink()  # it is not asked for again
    assert fetch_input(wanted, store, tmp_path / "node") == folder
    assert (folder / "images.npy").stat().st_ino == number
    assert [path.name for path in folder.parent.iterdir() if "partial" in path.name] == []


def test_damage_on_the_way_is_found_and_leaves_nothing(store: Store, source: Path, tmp_path: Path) -> None:
    wanted = share("tiny", KEY, source, store, tmp_path / "nfs")
    assert wanted.folder is not None
    stored = wanted.folder / "images.npy"
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"images\.npy of .* is damaged: its sha256 is .* Delete it there"):
        fetch_input(wanted, store, tmp_path / "node")
    assert not any(path.name == "images.npy" for path in (tmp_path / "node").rglob("*"))


def test_a_half_stored_dataset_is_stored_again(store: Store, source: Path) -> None:
    first = share("half", KEY, source, store, None)
    store.client.set_terminated(str(first.run_id), "KILLED")
    second = share("half", KEY, source, store, None)
    assert second.run_id != first.run_id


def test_a_file_of_another_machine_cannot_name_a_place_elsewhere(store: Store, tmp_path: Path) -> None:
    wanted = Input("tiny", KEY, {"../../x": "0"}, folder=tmp_path)
    with pytest.raises(UserError, match="names a file"):
        fetch_input(wanted, store, tmp_path / "node")


def test_weights_are_known_by_their_content(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"1")
    one = share_file(file, store, None)
    file.write_bytes(b"2")
    two = share_file(file, store, None)
    assert one.key != two.key
    assert (fetch_input(one, store, tmp_path / "node") / "weights.pth").read_bytes() == b"1"
    assert (fetch_input(two, store, tmp_path / "node") / "weights.pth").read_bytes() == b"2"
