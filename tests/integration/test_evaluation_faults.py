"""Generators that cannot be measured, or hardly: a flag or one clear line, never a number that means nothing."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gan.errors import UserError
from pipeline.evaluate import evaluate
from pipeline.measuring import Options
from pipeline.prepare import prepare
from pipeline.selection import Selection
from pipeline.tracking import EVALUATION, Store, connect
from pipeline.train import train
from pipeline.workspace import Workspace

OPTIONS = Options(num_samples=12, show_progress=False)
STEPS = ["batch_size=4", "max_steps=1"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace with a tiny dataset and a store of its own."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        workspace = Workspace()
        prepare(name="tiny", num_images=24, root=workspace.data, num_workers=1, progress=False)
        yield workspace


@pytest.fixture(scope="module")
def store(workspace: Workspace) -> Store:
    return connect()


@pytest.fixture(scope="module")
def run_id(workspace: Workspace, store: Store) -> str:
    trained = train(
        "dcgan", store=store, workspace=workspace, data="tiny", overrides=STEPS, selection=Selection(),
        show_progress=False,
    )  # fmt: skip
    return trained.run_id


@pytest.fixture
def artifact(run_id: str, store: Store) -> Iterator[Path]:
    """The stored generator's own file, put back after the test."""
    path = Path(store.client.get_run(run_id).info.artifact_uri.removeprefix("file://")) / "generator" / "last.pt"
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def change(path: Path, weights: Mapping[str, Tensor]) -> None:
    content = torch.load(path, weights_only=True)
    content["weights"] |= weights
    torch.save(content, path)


def measure(run_id: str, store: Store, workspace: Workspace) -> None:
    evaluate(run_id, OPTIONS, store=store, workspace=workspace)


def is_measured(run_id: str, store: Store) -> bool:
    return any(tag.startswith(EVALUATION) for tag in store.get(run_id).tags)


def test_a_truncated_generator_is_refused(run_id: str, artifact: Path, store: Store, workspace: Workspace) -> None:
    artifact.write_bytes(artifact.read_bytes()[:-1000])
    with pytest.raises(UserError, match="is damaged or not a generator file"):
        measure(run_id, store, workspace)
    assert not is_measured(run_id, store)


def test_weights_that_are_not_finite_are_refused(
    run_id: str, artifact: Path, store: Store, workspace: Workspace
) -> None:
    weights = torch.load(artifact, weights_only=True)["weights"]
    name = next(iter(weights))
    change(artifact, {name: torch.full_like(weights[name], torch.nan)})
    with pytest.raises(UserError, match="weights that are not finite: its training diverged"):
        measure(run_id, store, workspace)
    assert not is_measured(run_id, store)


def test_images_that_are_not_finite_are_refused(
    run_id: str, artifact: Path, store: Store, workspace: Workspace
) -> None:
    """Finite weights can overflow to infinity, and that to NaN."""
    weights = torch.load(artifact, weights_only=True)["weights"]
    change(artifact, {name: tensor * 1e38 for name, tensor in weights.items() if name.endswith("weight")})
    with pytest.raises(UserError, match="images are not finite"):
        measure(run_id, store, workspace)
    assert not is_measured(run_id, store)


def test_a_collapsed_generator_is_measured_and_flagged(
    run_id: str, artifact: Path, store: Store, workspace: Workspace
) -> None:
    weights = torch.load(artifact, weights_only=True)["weights"]
    first = next(name for name in weights if name.endswith("weight"))
    change(artifact, {first: torch.zeros_like(weights[first])})
    last, best = evaluate(run_id, OPTIONS, store=store, workspace=workspace)
    assert last.result.flags == ["collapsed"]
    assert "flags: collapsed" in last.text
    values = last.result.metrics
    assert all(np.isfinite(value) and np.isreal(value) for value in values.values())
    assert values["fd_efficientnet_lite0"] > 100
    assert values["recall_efficientnet_lite0"] == 0
    assert values["is_efficientnet_lite0"] == pytest.approx(1, abs=1e-3)
    assert best.result.metrics == values  # after one step the last is the best
    assert is_measured(run_id, store)


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"result": {"checkpoint": "last"}}'])
def test_a_damaged_result_is_measured_again(damage: str, run_id: str, store: Store, workspace: Workspace) -> None:
    evaluate(run_id, OPTIONS, store=store, workspace=workspace)
    (tag,) = [tag for tag in store.get(run_id).tags if tag.startswith(EVALUATION) and tag.endswith(".last")]
    results = []
    for _ in range(2):
        store.client.set_tag(run_id, tag, damage)
        last, _best = evaluate(run_id, OPTIONS, store=store, workspace=workspace)
        assert not last.again
        results.append(last.result)
    assert results[0] == results[1]
    last, _best = evaluate(run_id, OPTIONS, store=store, workspace=workspace)
    assert last.again


def test_a_diverged_training_has_nothing_to_measure(store: Store, workspace: Workspace) -> None:
    overrides = [*STEPS[:1], "max_steps=4", "discriminator_steps=1", "weight_clip=null"]
    overrides.append("optimizer={name: sgd, lr: 1e6, momentum: 0.9}")
    trained = train("wgan", store=store, workspace=workspace, data="tiny", overrides=overrides, show_progress=False)
    assert trained.status == "diverged"
    with pytest.raises(UserError, match=r"diverged and has no generator\. Lower the learning rate"):
        measure(trained.run_id, store, workspace)


def test_sampling_seeds_that_chose_the_best_are_refused(run_id: str, store: Store, workspace: Workspace) -> None:
    options = Options(num_samples=12, seed=1999, num_seeds=2)
    with pytest.raises(UserError, match="must leave out 2000, with which best generators are chosen, got 1999 to 2000"):
        evaluate(run_id, options, store=store, workspace=workspace)
