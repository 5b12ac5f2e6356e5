"""benchmarks/movement.py: plain SGD's way is the movement of one update, and no movement of several exceeds it."""

from pathlib import Path

import pytest

from benchmarks import movement
from gan.errors import UserError
from gan.state import build
from pipeline.sample import load_trained
from pipeline.tracking import Store, connect
from tests.conftest import run_pipeline

RATE = "optimizer.lr=0.01"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with four trainings: of one and of four updates of plain SGD, with momentum, and of Adam."""
    folder = tmp_path_factory.mktemp("movement")
    run_pipeline("prepare", "--num-images", "16", "--name", "tiny", cwd=folder)
    for variant, changes in (
        ("wgan_sgd", ("max_steps=1", "discriminator_steps=1", RATE)),
        ("wgan_sgd", ("max_steps=9", "discriminator_steps=2", RATE)),
        ("wgan_sgd", ("max_steps=1", "discriminator_steps=1", "optimizer.momentum=0.5")),
        ("dcgan", ("max_steps=1",)),
    ):
        sets = [text for change in ("batch_size=4", *changes) for text in ("--set", change)]
        run_pipeline("train", "--variant", variant, "--data", "tiny", "--evaluate-every", "0", *sets, cwd=folder)
    return folder


def test_ways_bound_movements(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    store = connect()
    one, four = (moved_and_ways(store, step) for step in (1, 9))
    for moved, way in one:
        assert way == pytest.approx(moved, rel=1e-3)
    for moved, way in four:
        assert 0 < moved <= way * (1 + 1e-3)


def moved_and_ways(store: Store, step: int) -> list[tuple[float, float]]:
    """Return movement and way of each layer of the training of plain SGD with so many steps."""
    wanted = {f"max_steps={step}", RATE}
    (run,) = [run for run in movement.finished(store) if wanted <= set(run.tags["overrides"].split())]
    trained = load_trained(run, store, movement.CPU)
    start = build(trained.config, 0, movement.CPU).generator
    moved = movement.movements(start, trained.network)
    names = [f"gradient_norm/generator/{name}" for name in moved]
    ways = movement.ways(start, trained, store.histories([run.run_id], names)[run.run_id])
    assert len(moved) == len(ways) == 8
    return [(moved[name], ways[name]) for name in moved]


def test_the_table_has_the_way_of_plain_sgd_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    store = connect()
    rows = [movement.row_of(run, store) for run in movement.finished(store)]
    assert sorted((row["generator updates"], "way of plain SGD" in row) for row in rows) == [
        (1, False),
        (1, False),
        (1, True),
        (4, True),
    ]
    (long,) = [row for row in rows if row["generator updates"] == 4]
    full_length = 51 * (16 // 4)  # the variant's epochs
    assert float(long["at full length"]) == pytest.approx(float(long["way of plain SGD"]) * full_length / 9, rel=0.02)


def test_an_empty_store_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(UserError, match="has no finished training"):
        movement.finished(connect())


def test_published_runs_are_named_and_left_out(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_pipeline("export", str(tmp_path / "runs.zip"), "--publish", cwd=folder)
    run_pipeline("import", str(tmp_path / "runs.zip"), cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(UserError, match="with its generator"):
        movement.finished(connect())
    run_pipeline("prepare", "--num-images", "16", "--name", "tiny", cwd=tmp_path)
    own = ("--evaluate-every", "0", "--set", "batch_size=4", "--set", "max_steps=2")
    run_pipeline("train", "--variant", "wgan_sgd", "--data", "tiny", *own, cwd=tmp_path)
    capsys.readouterr()
    (run,) = movement.finished(connect())
    assert "max_steps=2" in run.tags["overrides"]
    left_out = capsys.readouterr().err
    assert left_out.count("no generator/last.pt, left out") == 4
    assert "dcgan-s0 batch_size=4 max_steps=1:" in left_out
    row = movement.row_of(run, connect())  # two steps: no update of the generator yet
    assert [row[name] for name in ("generator updates", "most moved", "way of plain SGD")] == [0, "0", "0"]
