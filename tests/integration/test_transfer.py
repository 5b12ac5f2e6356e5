"""Runs in a file: all of a store in another one, trainings that go on there, and files that are no bundles."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch

from gan.checkpoints import Checkpoints
from gan.errors import UserError
from pipeline.bundles import CHECKPOINTS, Bundle, Entry
from pipeline.publish import GENERATOR
from pipeline.tracking import Run, Stage, Store, connect
from pipeline.tracking.copies import ORIGIN
from pipeline.transfer import import_runs
from pipeline.workspace import Workspace
from tests.conftest import run_pipeline
from tests.servers import mlflow_server

SUITE = """
title: A short suite
dataset: {name: tiny, sources: [avatars], num_images: 24}
seeds: [0]
evaluation: {extractors: [efficientnet_lite0], num_samples: 8, every_epochs: 0.2, curve_samples: 8}
set: {batch_size: 4, max_steps: 3}
cells:
  - variant: dcgan
"""
TRAIN = ("train", "--variant", "wgan", "--data", "tiny", "--set", "batch_size=4", "--set", "max_steps=10", "--set",
         "discriminator_steps=2", "--evaluate-every", "0.5", "--evaluate-samples", "8")  # fmt: skip


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a suite that ran, a training that was stopped after a few steps, and a bundle of both."""
    folder = tmp_path_factory.mktemp("origin")
    (folder / "short.yaml").write_text(SUITE)
    run_pipeline("run", "short.yaml", cwd=folder)
    done = run_pipeline(*TRAIN, "--max-seconds", "0.01", cwd=folder, check=False)
    assert done.returncode == 130, done.stderr
    printed = run_pipeline("export", "all.zip", cwd=folder).stdout
    assert "all.zip: 2 training(s), 1 run(s) of real images" in printed
    return folder


@pytest.fixture(scope="module")
def elsewhere(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return another folder, into which the bundle was imported and the dataset was prepared."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(origin / "short.yaml", folder)
    run_pipeline("prepare", "--name", "tiny", "--num-images", "24", cwd=folder)
    done = run_pipeline("import", str(origin / "all.zip"), cwd=folder)
    assert done.stdout.startswith("3 run(s) are new, 0 were brought up to date, 0 were here before.")
    return folder


def store_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    return connect()


def runs_of(store: Store) -> dict[str, Run]:
    return {run.tags.get(ORIGIN, run.run_id): run for run in store.find({}) if run.tags["stage"] in ("train", "real")}


def test_everything_arrives(origin: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = store_of(origin, monkeypatch)
    before = runs_of(there)
    files = {key: there.all_artifacts(run) for key, run in before.items()}
    points = {key: there.histories([run.run_id], [*run.metrics])[run.run_id] for key, run in before.items()}
    contents = {(key, name): there.read_artifact(before[key], name) for key in files for name in files[key]}
    here = store_of(elsewhere, monkeypatch)
    after = runs_of(here)
    assert before.keys() == after.keys()
    for key, run in after.items():
        assert (run.name, run.status, run.start_time) == (
            before[key].name, before[key].status, before[key].start_time,
        )  # fmt: skip
        assert (run.params, run.metrics) == (before[key].params, before[key].metrics)
        ours = {name for name in before[key].tags if not name.startswith("mlflow.")} - {"checkpoints_at"}
        ours |= {name for name in before[key].tags if name.startswith("mlflow.gan.")}
        assert {name: run.tags[name] for name in ours} == {name: before[key].tags[name] for name in ours}
        found = here.histories([run.run_id], [*run.metrics])[run.run_id]
        assert found.keys() == points[key].keys()
        for metric, curve in found.items():
            np.testing.assert_array_equal(curve, points[key][metric])
        assert here.all_artifacts(run) == files[key]
    assert {(key, name): here.read_artifact(after[key], name) for key in files for name in files[key]} == contents
    inputs = here.client.get_run(next(r for r in after.values() if r.tags["stage"] == Stage.TRAIN).run_id).inputs
    assert inputs is not None
    assert [each.dataset.name for each in inputs.dataset_inputs] == ["tiny"]


def test_the_report_has_the_same_tables(origin: Path, elsewhere: Path, tmp_path: Path) -> None:
    for folder, out in ((origin, "a"), (elsewhere, "b")):
        run_pipeline("report", "--suite", "short.yaml", "--data", "tiny", "--out", str(tmp_path / out), cwd=folder)
    a, b = (json.loads((tmp_path / out / "results.json").read_text()) for out in "ab")
    assert a["tables"] == b["tables"]
    tables = [next((tmp_path / out).glob("table-*.csv")).read_bytes() for out in "ab"]
    assert tables[0] == tables[1]


def test_what_is_done_is_not_done_again(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(runs_of(store_of(elsewhere, monkeypatch)))
    done = run_pipeline("run", "short.yaml", cwd=elsewhere)
    assert len(runs_of(store_of(elsewhere, monkeypatch))) == before
    assert "dcgan" in done.stdout
    again = run_pipeline("import", str(elsewhere.parent / "none"), cwd=elsewhere, check=False)
    assert again.returncode == 1


def test_a_generator_can_be_measured_again(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = next(r for r in runs_of(store_of(elsewhere, monkeypatch)).values() if r.tags["variant"] == "dcgan")
    done = run_pipeline("evaluate", "--run", run.run_id, "--num-samples", "10", cwd=elsewhere)
    assert "10 images" in done.stdout


def test_the_same_bundle_again_changes_nothing(
    origin: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_pipeline("export", str(tmp_path / "again.zip"), cwd=origin)
    assert (tmp_path / "again.zip").read_bytes() == (origin / "all.zip").read_bytes()
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    run_pipeline("import", str(origin / "all.zip"), cwd=fresh)
    done = run_pipeline("import", str(origin / "all.zip"), cwd=fresh)
    assert done.stdout.startswith("0 run(s) are new, 0 were brought up to date, 3 were here before.")
    assert run_pipeline("import", str(origin / "all.zip"), cwd=origin).stdout.startswith("0 run(s) are new, 0 were")
    # what a copy of a copy is called is known too
    run_pipeline("export", "copy.zip", "--no-checkpoints", cwd=fresh)
    assert run_pipeline("import", str(fresh / "copy.zip"), cwd=origin).stdout.endswith("\n")
    assert len(runs_of(store_of(origin, monkeypatch))) == 3


def test_over_a_server_and_back_it_is_the_same_file(origin: Path, tmp_path: Path) -> None:
    with mlflow_server(f"sqlite:///{tmp_path / 'server.db'}", tmp_path / "server") as server:
        run_pipeline("import", str(origin / "all.zip"), cwd=tmp_path, variables=server.client_variables)
        run_pipeline("export", "back.zip", cwd=tmp_path, variables=server.client_variables)
    assert not (tmp_path / "mlflow.db").exists()
    assert (tmp_path / "back.zip").read_bytes() == (origin / "all.zip").read_bytes()


def test_what_was_measured_since_is_added(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    run_pipeline("import", str(origin / "all.zip"), cwd=home)
    away = tmp_path / "away"
    shutil.copytree(origin / "data", away / "data")
    run_pipeline("import", str(origin / "all.zip"), cwd=away)
    run_pipeline("evaluate", "--variant", "dcgan", "--num-samples", "12", cwd=away)
    run_pipeline("export", "more.zip", cwd=away)
    done = run_pipeline("import", str(away / "more.zip"), cwd=home)
    assert "were brought up to date" in done.stdout
    assert done.stdout.startswith("0 run(s) are new")
    (run,) = [r for r in runs_of(store_of(home, monkeypatch)).values() if r.tags["variant"] == "dcgan"]
    results = [name for name in run.tags if name.startswith("mlflow.gan.evaluation.") and name.endswith(".last")]
    assert len(results) == 2
    assert len(runs_of(store_of(home, monkeypatch))) == 3


def test_a_training_goes_on_elsewhere_bit_for_bit(
    origin: Path, elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(origin / "data", tmp_path / "undisturbed" / "data")
    for folder in (tmp_path / "undisturbed", elsewhere):
        run_pipeline(*TRAIN, cwd=folder)
    generators, curves = [], []
    for folder in (tmp_path / "undisturbed", elsewhere):
        store = store_of(folder, monkeypatch)
        (run,) = store.find({"stage": Stage.TRAIN, "variant": "wgan"})
        assert run.status == "FINISHED"
        file = store.download(run, GENERATOR, tmp_path / folder.name)
        generators.append(torch.load(file, weights_only=True))
        names = [name for name in run.metrics if not name.startswith("time/")]
        curves.append(store.histories([run.run_id], names)[run.run_id])
    assert generators[0].keys() == generators[1].keys()
    for name, tensor in generators[0]["weights"].items():
        assert torch.equal(tensor, generators[1]["weights"][name]), name
    assert curves[0].keys() == curves[1].keys()
    for name, curve in curves[0].items():
        np.testing.assert_array_equal(curve, curves[1][name])
    # it goes its own way now: the bundle of before does not touch it
    done = run_pipeline("import", str(origin / "all.zip"), cwd=elsewhere)
    assert "3 were here before" in done.stdout


def test_a_training_that_was_finished_elsewhere_comes_home(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    for folder in (home, away):
        shutil.copytree(origin / "data", folder / "data")
    assert run_pipeline(*TRAIN, "--max-seconds", "0.01", cwd=home, check=False).returncode == 130
    run_pipeline("export", "begun.zip", cwd=home)
    run_pipeline("import", str(home / "begun.zip"), cwd=away)
    run_pipeline(*TRAIN, cwd=away)
    run_pipeline("export", "finished.zip", cwd=away)
    done = run_pipeline("import", str(away / "finished.zip"), cwd=home)
    assert done.stdout.startswith("0 run(s) are new, 1 were brought up to date, 0 were here before.")
    store = store_of(home, monkeypatch)
    (run,) = store.find({"stage": Stage.TRAIN})
    assert (run.status, ORIGIN in run.tags) == ("FINISHED", False)
    points = store.client.get_metric_history(run.run_id, "train/loss_discriminator")
    assert sorted(point.step for point in points) == list(range(1, 11))
    assert "was done before" in run_pipeline(*TRAIN, cwd=home).stdout
    run_pipeline("evaluate", "--run", run.run_id, "--num-samples", "8", cwd=home)
    again = run_pipeline("import", str(away / "finished.zip"), cwd=home)
    assert "1 were here before" in again.stdout


def test_a_published_bundle_has_numbers_and_samples_alone(origin: Path, tmp_path: Path) -> None:
    run_pipeline("export", str(tmp_path / "public.zip"), "--suite", "short.yaml", "--publish", cwd=origin)
    with zipfile.ZipFile(tmp_path / "public.zip") as archive:
        names = archive.namelist()
        text = b"".join(archive.read(name) for name in names if name.endswith(".json"))
    assert not [name for name in names if "closest" in name or name.endswith(".pt") or "/images/" in name]
    assert {PurePosixPath(name).name for name in names if name.endswith((".png", ".webp"))} == {"samples.png"}
    assert str(origin).encode() not in text
    assert b"mlflow.user" not in text
    (tmp_path / "reader").mkdir()
    run_pipeline("import", "../public.zip", cwd=tmp_path / "reader")
    report = run_pipeline("report", cwd=tmp_path / "reader")
    assert "dcgan" in report.stdout
    shutil.copytree(origin / "data", tmp_path / "reader" / "data")
    done = run_pipeline("evaluate", "--variant", "dcgan", "--num-samples", "14", cwd=tmp_path / "reader", check=False)
    assert done.returncode == 1
    assert "without --publish" in done.stderr


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Workspace]]:
    """Return a store without runs and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        yield connect(), Workspace(folder)


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write a zip file like another one, with its members changed."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


def entry_of(members: dict[str, bytes]) -> str:
    return next(name for name in members if name.endswith("/run.json") and b"generator/last.pt" in members[name])


def with_json(change: Callable[[dict[str, object]], object]) -> Callable[[dict[str, bytes]], None]:
    """Return what changes the JSON of a run."""

    def apply(members: dict[str, bytes]) -> None:
        name = entry_of(members)
        content = json.loads(members[name])
        change(content)
        members[name] = json.dumps(content).encode()

    return apply


def flip(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.endswith("generator/last.pt"))
    members[name] = bytes([members[name][0] ^ 1]) + members[name][1:]


def lead_out(members: dict[str, bytes]) -> None:
    name = entry_of(members)
    content = json.loads(members[name])
    path, file = next(iter(content["artifacts"].items()))
    content["artifacts"] = {"../../../out": file}
    folder = name.removesuffix("run.json")
    members[f"{folder}artifacts/../../../out"] = members.pop(f"{folder}artifacts/{path}")
    members[name] = json.dumps(content).encode()


def as_another_stage(content: dict[str, object]) -> None:
    run = content["run"]
    assert isinstance(run, dict)
    run["tags"]["stage"] = "report"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip, "does not have its checksum"),
        (lead_out, "must be a path below its folder"),
        (with_json(lambda content: content.update(more=1)), "is not what `pipeline export` of this version writes"),
        (with_json(lambda content: content["run"].update(run_id="../x")), "is not what `pipeline export`"),  # type: ignore[attr-defined]
        (with_json(lambda content: content["run"].update(run_id="other")), "its index does not name its runs"),  # type: ignore[attr-defined]
        (with_json(as_another_stage), "is no training or real images"),
        (lambda members: members.update({"more.txt": b"x"}), "more.txt is in it or in its list, but not in both"),
        (lambda members: members.pop("index.json"), "has no index.json"),
        (lambda members: members.update({"index.json": b'{"format": 2}'}), "format is not what"),
        (lambda members: members.update({"index.json": b"[" * 10**6}), "is not what `pipeline export`"),
    ],
)
def test_a_bundle_that_was_changed_is_refused_and_nothing_is_written(
    origin: Path, empty: tuple[Store, Workspace], tmp_path: Path, change: Callable[[dict[str, bytes]], None],
    message: str,
) -> None:  # fmt: skip
    bundle = rewritten(origin / "all.zip", tmp_path / "changed.zip", change)
    store, workspace = empty
    with pytest.raises(UserError, match=re.escape(message)) as refusal:
        import_runs([bundle], store=store, workspace=workspace)
    assert str(refusal.value).startswith(f"{bundle}: ")
    assert runs_of(store) == {}
    assert not workspace.checkpoints.exists()


def test_an_import_that_was_stopped_is_finished_by_the_next(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, workspace = store_of(tmp_path, monkeypatch), Workspace(tmp_path)
    extract = Bundle.extract

    def stop_at_checkpoints(bundle: Bundle, entry: Entry, folder: str, target: Path) -> None:
        if folder == CHECKPOINTS:
            raise KeyboardInterrupt
        extract(bundle, entry, folder, target)

    with monkeypatch.context() as patch:
        patch.setattr(Bundle, "extract", stop_at_checkpoints)
        with pytest.raises(KeyboardInterrupt):
            import_runs([origin / "all.zip"], store=store, workspace=workspace)
    assert store.find({"stage": Stage.TRAIN, "variant": "wgan"}) == []  # half of it does not count
    import_runs([origin / "all.zip"], store=store, workspace=workspace)
    assert len(store.find({})) == 3
    (run,) = store.find({"stage": Stage.TRAIN, "variant": "wgan"})
    folder = workspace.checkpoints / run.run_id
    assert Checkpoints(folder, run.tags["fingerprint"]).load_latest() is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zip", "is damaged, or no bundle"),
        (None, "there is no such file"),
        (b"PK\x03\x04" + b"\0" * 60, "is damaged"),
    ],
)
def test_a_file_that_is_no_bundle_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "file.zip").write_bytes(content)
    done = run_pipeline("import", "file.zip", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cut_bundle_is_refused(origin: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes((origin / "all.zip").read_bytes()[:-1000])
    done = run_pipeline("import", "cut.zip", cwd=tmp_path, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "tiny"], "--data: goes with --suite"),
        (["--suite", "short.yaml", "--run", "x"], "--suite and --run"),
        (["--run", "x"], "there is no run 'x'"),
        (["--suite", "demo"], "has no training of it"),
    ],
)
def test_what_cannot_be_exported_is_said(origin: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run_pipeline("export", str(tmp_path / "x.zip"), *arguments, cwd=origin, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "x.zip").exists()


def test_an_empty_store_has_nothing_to_export(tmp_path: Path) -> None:
    done = run_pipeline("export", "x.zip", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "There is no training to export" in done.stderr


def test_a_training_in_use_is_left_out(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.run_lock import in_use

    store = store_of(origin, monkeypatch)
    run = next(r for r in runs_of(store).values() if r.tags["variant"] == "wgan")
    folder = origin / "checkpoints" / run.run_id
    assert Checkpoints(folder, run.tags["fingerprint"]).load_latest() is not None
    with in_use(folder, run):
        done = run_pipeline("export", str(tmp_path / "x.zip"), cwd=origin)
    assert "1 training(s)" in done.stdout
    assert f"run {run.run_id} (wgan-s0) is being trained by another process" in done.stderr
    assert "It is left out." in done.stderr
