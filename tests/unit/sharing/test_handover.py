"""Who trains a run, and the checkpoint that others can go on from."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient

from gan.checkpoints import Checkpoints
from gan.errors import UserError
from pipeline.sharing.checkpoints import SharedCheckpoints, fetch
from pipeline.tracking import BackgroundOutbox, Run, RunWriter, Store, connect, handover
from pipeline.tracking.handover import (
    CHECKPOINT,
    FREE,
    OWNER,
    Lease,
    forget_checkpoint,
    owned,
    require_free,
    stored_checkpoint,
)

SECOND = "second"  # another attempt


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return one store for all: to make one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("store"))
        return connect()


@pytest.fixture
def run(store: Store) -> str:
    with store.open_run(name="wgan-s0", tags={"stage": "train", OWNER: owned("first")}) as writer:
        pass
    return writer.run_id


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(handover, "DEAD_SECONDS", 3.0)


def elsewhere(token: str, beat: float = 0.0) -> str:
    """Return the tag of a process of another machine."""
    return json.dumps(json.loads(owned(token)) | {"host": "another-machine", "beat": beat})


def set_owner(store: Store, run: str, tag: str) -> Run:
    store.writer(run).set_tags({OWNER: tag})
    return store.get(run)


def test_a_free_run_and_a_dead_attempt_are_not_waited_for(store: Store, run: str) -> None:
    began = time.monotonic()
    require_free(store.client, set_owner(store, run, FREE), ())
    require_free(store.client, set_owner(store, run, elsewhere("dead")), ("dead",))
    ended = json.loads(owned("x")) | {"process": 2**22 + 1}  # larger than any process number of Linux
    require_free(store.client, set_owner(store, run, json.dumps(ended)), ())
    assert time.monotonic() - began < 1.5


def test_a_process_that_gives_signs_of_life_is_named(store: Store, run: str, quick: None) -> None:
    lease = Lease(store.client, run, "alive")
    set_owner(store, run, elsewhere("alive"))
    with lease.held(), pytest.raises(UserError, match=f"is being trained by another process, {os.getpid()} on"):
        require_free(store.client, set_owner(store, run, elsewhere("alive")), ())


def test_one_that_gives_none_is_taken_for_dead(store: Store, run: str, quick: None) -> None:
    require_free(store.client, set_owner(store, run, elsewhere("silent")), ())


def test_who_was_taken_over_from_notices(store: Store, run: str, quick: None) -> None:
    lease = Lease(store.client, run, "first")
    with lease.held():
        lease.require()
        set_owner(store, run, elsewhere(SECOND))
        time.sleep(0.5)
        with pytest.raises(UserError, match=r"was taken over by .* on another-machine"):
            lease.require()
    assert json.loads(store.get(run).tags[OWNER])["token"] == SECOND  # and leaves the other's name there


def test_a_lease_ends_with_its_block(store: Store, run: str) -> None:
    with Lease(store.client, run, "first").held():
        pass
    assert store.get(run).tags[OWNER] == FREE


def shared(store: Store, run: str, folder: Path) -> tuple[SharedCheckpoints, BackgroundOutbox]:
    outbox = BackgroundOutbox(store.writer(run), folder / "outbox")
    return SharedCheckpoints(folder, "f", outbox, every_seconds=0.0), outbox


def names(store: Store, run: str) -> list[str]:
    return [Path(name).name for name in store.artifacts(store.get(run), "checkpoints")]


def test_another_machine_gets_the_newest_checkpoint_and_the_best(store: Store, run: str, tmp_path: Path) -> None:
    checkpoints, outbox = shared(store, run, tmp_path / "here")
    for step, best in ((1, 0), (2, 2), (3, 2), (4, 2), (5, 2)):
        checkpoints.save(step, {"step": step}, best_step=best)
        outbox.drain()
    assert names(store, run) == ["step-000000002.pt", "step-000000005.pt"]  # older ones are gone
    fetch(store, store.get(run), tmp_path / "there")
    found = Checkpoints(tmp_path / "there", "f")
    latest, best_one = found.load_latest(), found.load(2)
    assert latest is not None
    assert best_one is not None
    assert (latest["step"], best_one["step"]) == (5, 2)
    forget_checkpoint(store.writer(run))
    assert names(store, run) == []
    assert CHECKPOINT not in store.get(run).tags


def test_points_are_stored_before_the_checkpoint_that_has_passed_them(
    store: Store, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise who goes on from it would never send them."""
    checkpoints, outbox = shared(store, run, tmp_path / "here")
    log_batch = MlflowClient.log_batch

    def only_points_fail(self: MlflowClient, run_id: str, **content: object) -> None:
        if content.get("metrics"):
            raise OSError("no answer")
        log_batch(self, run_id, **content)  # type: ignore[arg-type]

    monkeypatch.setattr(MlflowClient, "log_batch", only_points_fail)
    outbox.add_points(1, {"train/loss": 0.5})
    checkpoints.save(1, {"step": 1})
    with pytest.raises(UserError, match="does not answer"):
        outbox.drain(0)
    assert CHECKPOINT not in store.get(run).tags
    monkeypatch.undo()
    _, again = shared(store, run, tmp_path / "here")  # after a kill: what waited lies on disk
    again.drain()
    assert stored_checkpoint(store.get(run).tags).step == 1
    assert store.steps(run) == {"train/loss": {1}}
    assert not list((tmp_path / "here").glob("outbox/*"))


def test_a_checkpoint_outlives_the_original_while_it_waits(store: Store, run: str, tmp_path: Path) -> None:
    checkpoints, _ = shared(store, run, tmp_path / "here")
    offline = BackgroundOutbox(RunWriter(MlflowClient("http://127.0.0.1:9"), run), tmp_path / "here" / "outbox")
    offline_checkpoints = SharedCheckpoints(tmp_path / "here", "f", offline, every_seconds=0.0)
    for step in range(1, 7):
        offline_checkpoints.save(step, {"step": step})
    with pytest.raises(UserError):
        offline.drain(0)
    assert not (tmp_path / "here" / "step-000000001.pt").exists()  # two are kept
    _, online = shared(store, run, tmp_path / "here")
    online.drain()
    assert stored_checkpoint(store.get(run).tags).step == 1  # the first one that waited; the rest was left out
    checkpoints = SharedCheckpoints(tmp_path / "here", "f", online, every_seconds=0.0)
    checkpoints.share(6)
    online.drain()
    assert stored_checkpoint(store.get(run).tags).step == 6


def test_a_damaged_copy_is_left_out(store: Store, run: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints, outbox = shared(store, run, tmp_path / "here")
    checkpoints.save(3, {"step": 3})
    outbox.drain()
    artifact = Path(store.get(run).artifact_uri.removeprefix("file://"), "checkpoints/step-000000003.pt")
    artifact.write_bytes(artifact.read_bytes()[:-1])
    fetch(store, store.get(run), tmp_path / "there")
    assert "is damaged" in caplog.text
    assert Checkpoints(tmp_path / "there", "f").load_latest() is None


def test_what_is_newer_here_stays(store: Store, run: str, tmp_path: Path) -> None:
    checkpoints, outbox = shared(store, run, tmp_path / "here")
    checkpoints.save(3, {"step": 3})
    outbox.drain()
    newer = Checkpoints(tmp_path / "there", "f")
    newer.save(4, {"step": 4})
    fetch(store, store.get(run), tmp_path / "there")
    assert sorted(path.name for path in (tmp_path / "there").glob("*.pt")) == ["step-000000004.pt"]


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
JSON = st.recursive(PLAIN, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=10)
NEARLY = st.fixed_dictionaries({"step": JSON, "files": st.dictionaries(st.text(), JSON)})


@given(st.text() | JSON.map(json.dumps) | NEARLY.map(json.dumps))
def test_a_tag_of_somebody_else_is_no_checkpoint_elsewhere(tag: str) -> None:
    found = stored_checkpoint({CHECKPOINT: tag})
    assert all("/" not in name and name.endswith(".pt") for name in found.files)


def test_names_that_lead_elsewhere_are_no_checkpoint() -> None:
    tag = json.dumps({"step": 5, "files": {"../../etc/x.pt": {}}})
    assert stored_checkpoint({CHECKPOINT: tag}).step == 0
