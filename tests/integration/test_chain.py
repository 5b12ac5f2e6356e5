"""The whole chain on real images, as a user runs it: a suite, its table, its tracked runs and its models."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image

from gan.randomness import sample_latents
from pipeline.metrics.names import KINDS
from pipeline.tracking import EVALUATION
from tests.conftest import environment, run_pipeline
from tests.integration.conftest import SUITE

GENERATORS = ("generator/best.pt", "generator/last.pt")


@pytest.fixture(scope="module")
def client(finished: tuple[Path, str]) -> MlflowClient:
    return MlflowClient(f"sqlite:///{finished[0] / 'mlflow.db'}")


def trainings(client: MlflowClient) -> dict[str, mlflow.entities.Run]:
    experiment = client.get_experiment_by_name("gan-benchmark")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.stage = 'train'")
    return {str(run.info.run_name): run for run in runs}


def test_the_table_has_a_row_for_each_variant_and_the_floor(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    (table,) = (folder / "reports").glob("table-*.csv")
    rows = list(csv.DictReader(table.open()))
    assert {row["variant"] for row in rows} == {"dcgan", "wgan", "wgan_sgd", "real"}
    report = (folder / "reports" / "report.md").read_text()
    for word in ("dcgan", "wgan_sgd", "fd_efficientnet_lite0", "5,142,083 / 4,316,545", "3,380,227 / 4,316,545"):
        assert word in report
    for word in ("dcgan", "wgan_sgd", "fd_efficientnet_lite0", "real images"):
        assert word in printed
    assert "pipeline ui, then http" in printed


def test_the_best_generator_is_kept_with_the_protocol_of_its_choice(client: MlflowClient, tmp_path: Path) -> None:
    for run in trainings(client).values():
        curve = {p.step: p.value for p in client.get_metric_history(run.info.run_id, "curve/fd_efficientnet_lite0")}
        assert sorted(curve) == [0, 5, 10]
        del curve[0]  # an untrained generator is never the best
        assert "curve/kd_efficientnet_lite0" in run.data.metrics
        assert int(run.data.tags["best_step"]) == min(curve, key=lambda step: curve[step])
        files = {name: client.download_artifacts(run.info.run_id, name, str(tmp_path)) for name in GENERATORS}
        best, last = (torch.load(file, weights_only=True) for file in files.values())
        assert best["step"] == int(run.data.tags["best_step"])
        assert last["step"] == 10
        chosen = json.loads(Path(client.download_artifacts(run.info.run_id, "evaluation/selection.json")).read_text())
        assert (chosen["num_samples"], chosen["num_reference"]) == (8, 8)
        table = next(json.loads(text) for tag, text in run.data.tags.items() if tag.startswith(EVALUATION))
        assert chosen["reference"] != table["protocol"]["reference"]
        assert str(chosen["sampling_seed"]) not in table["protocol"]["sampling_seeds"].split(", ")


def test_last_and_best_are_measured_with_every_uncertainty_that_there_is(client: MlflowClient) -> None:
    for run in trainings(client).values():
        tags = {tag.rpartition(".")[2]: json.loads(text) for tag, text in run.data.tags.items() if EVALUATION in tag}
        assert tags.keys() == {"last", "best"}
        last, best = tags["last"], tags["best"]
        assert last["protocol"] == best["protocol"]
        assert (last["result"]["step"], best["result"]["step"]) == (10, int(run.data.tags["best_step"]))
        assert (last["result"]["metrics"] == best["result"]["metrics"]) == (run.data.tags["best_step"] == "10")
        assert last["protocol"]["sampling_seeds"] == "1000, 1001"
        result = last["result"]
        names = {f"{kind}_efficientnet_lite0" for kind in KINDS.keys() - {"fd_infinity"}}  # too few images for that one
        assert result["metrics"].keys() == result["sampling_spread"].keys() == names
        assert result["estimator_error"].keys() == names - {"kd_efficientnet_lite0"}  # one subset has no spread
        for checkpoint, section in (("last", "final"), ("best", "best")):
            for name, value in tags[checkpoint]["result"]["metrics"].items():
                assert run.data.metrics[f"{section}/{name}"] == pytest.approx(value, rel=1e-5)
        assert max(len(text) for text in run.data.tags.values()) < 8000  # what a tag can hold


def test_the_nearest_training_images_can_be_looked_at(client: MlflowClient, tmp_path: Path) -> None:
    run_id = trainings(client)["dcgan-s0"].info.run_id
    (picture,) = [f.path for f in client.list_artifacts(run_id, "evaluation") if f.path.endswith(".png")]
    assert Image.open(client.download_artifacts(run_id, picture, str(tmp_path))).size == (8 * 66 + 2, 4 * 66 + 2)


def test_every_run_says_what_it_is(client: MlflowClient) -> None:
    runs = trainings(client)
    assert sorted(runs) == ["dcgan-s0", "wgan-s0", "wgan_sgd-s0"]
    for name, run in runs.items():
        assert run.info.status == "FINISHED"
        assert name == f"{run.data.tags['variant']}-s{run.data.tags['seed']}"
        assert {"fingerprint", "config_hash", "dataset_digest", "mlflow.source.git.commit"} <= run.data.tags.keys()
        assert len(run.data.params) <= 7
        assert run.inputs is not None
        assert run.inputs.dataset_inputs[0].dataset.name == "tiny"
        metrics = run.data.metrics
        assert metrics["cost/discriminator_updates"] == 10
        assert metrics["cost/generator_updates"] == (10 if "dcgan" in name else 2)
        assert metrics["cost/total_images"] == 80
        assert run.data.params["gan.precision"] in ("fp32", "bf16")
        assert {"health/saturation", "health/diversity", "gradient_norm/generator/1_linear"} <= metrics.keys()
        assert ("health/clipped_share" in metrics) == ("wgan" in name)
        assert metrics["cost/discriminator_parameters"] == 4_316_545
        assert metrics["final/fd_efficientnet_lite0"] > 0
        points = client.get_metric_history(run.info.run_id, "train/loss_discriminator")
        assert [point.step for point in points] == list(range(1, 11))


def test_grids_begin_at_step_zero_and_the_configuration_is_an_artifact(client: MlflowClient) -> None:
    run_id = trainings(client)["dcgan-s0"].info.run_id
    steps = sorted({f.path.split("+")[2] for f in client.list_artifacts(run_id, "images") if f.path.endswith(".png")})
    assert sorted(map(int, steps)) == list(range(11))
    assert {"samples.png", "interpolation.png"} < {f.path for f in client.list_artifacts(run_id)}
    assert [f.path for f in client.list_artifacts(run_id, "config")] == ["config/resolved.yaml"]
    files = [file.path for file in client.list_artifacts(run_id, "evaluation")]
    _best, last, selection = sorted(file for file in files if file.endswith(".json"))
    assert selection == "evaluation/selection.json"
    result = json.loads(Path(client.download_artifacts(run_id, last)).read_text())
    assert result["result"]["checkpoint"] == "last"
    protocol = result["protocol"]
    assert (protocol["num_samples"], protocol["num_reference"], protocol["dataset"]) == (20, 20, "tiny")
    assert len(protocol["weights_sha256"]) == 64


def test_the_same_command_does_nothing_again(finished: tuple[Path, str], client: MlflowClient) -> None:
    folder, printed = finished
    before = {name: run.info.to_proto().SerializeToString() for name, run in trainings(client).items()}
    again = run_pipeline("run", "tiny.yaml", cwd=folder)
    assert again.stdout == printed
    assert {name: run.info.to_proto().SerializeToString() for name, run in trainings(client).items()} == before


def test_the_models_load_elsewhere_without_the_project(
    finished: tuple[Path, str], client: MlflowClient, tmp_path: Path
) -> None:
    """In another folder, with an interpreter that does not see this project."""
    folder, _ = finished
    run_id = trainings(client)["dcgan-s0"].info.run_id
    run_pipeline("sample", "--run", run_id, "--num", "3", "--seed", "7", "--single", "--out", str(tmp_path), cwd=folder)
    np.save(tmp_path / "latents.npy", sample_latents(7, range(3), 100).numpy())
    script = f"""
import importlib.util, sys
sys.path = [p for p in sys.path if "editable" not in p and {str(Path(__file__).parents[2])!r} != p]
sys.meta_path = [f for f in sys.meta_path if "editable" not in type(f).__module__.lower()]
assert importlib.util.find_spec("pipeline") is None
import mlflow, numpy as np, pandas as pd, torch
mlflow.set_tracking_uri("sqlite:///{folder}/mlflow.db")
run = mlflow.get_run({run_id!r})
models = mlflow.search_logged_models([run.info.experiment_id], output_format="list")
names = {{model.name: model.model_uri for model in models if model.source_run_id == run.info.run_id}}
latents = np.load("latents.npy")
module = mlflow.pytorch.load_model(names["generator"])
images = module(torch.from_numpy(latents)).detach().numpy()
np.save("pytorch.npy", images)
np.save("pyfunc.npy", mlflow.pyfunc.load_model(names["generator"]).predict(latents))
sampler = mlflow.pyfunc.load_model(names["sampler"])
np.save("sampler.npy", sampler.predict(np.arange(3), params={{"seed": 7}}))
np.save("frame.npy", sampler.predict(pd.DataFrame({{"index": [2, 0]}}), params={{"seed": 7}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    sampled = np.load(tmp_path / "sampler.npy")
    singles = [np.asarray(Image.open(p)) for p in sorted(tmp_path.glob(f"dcgan-s0-{run_id[:8]}-seed7/*.png"))]
    assert np.array_equal(sampled, np.stack(singles))
    assert np.array_equal(np.load(tmp_path / "frame.npy"), sampled[[2, 0]])
    exported = np.load(tmp_path / "pytorch.npy")
    np.testing.assert_allclose(np.load(tmp_path / "pyfunc.npy"), exported, atol=1e-6)
    np.testing.assert_allclose((exported.transpose(0, 2, 3, 1) + 1) * 127.5, sampled.astype(float), atol=0.51)


def test_evaluating_again_is_answered_from_the_store_and_more_samples_are_another_protocol(
    finished: tuple[Path, str], client: MlflowClient
) -> None:
    folder, _ = finished
    first = run_pipeline(
        "evaluate", "--variant", "wgan_sgd", "--num-samples", "20", "--num-seeds", "2", cwd=folder
    ).stdout
    assert first.count("(measured before)") == 2
    run_id = trainings(client)["wgan_sgd-s0"].info.run_id
    other = run_pipeline("evaluate", "--run", run_id, "--num-samples", "16", cwd=folder).stdout
    assert "(measured before)" not in other
    run_pipeline("report", "--out", "both", cwd=folder)
    tables = list((folder / "both").glob("table-*.csv"))
    assert len(tables) == 2
    report = (folder / "both" / "report.md").read_text()
    assert "How the protocols differ" in report
    refused = run_pipeline("report", "--one-table", "--out", "one", cwd=folder, check=False)
    assert refused.returncode == 1
    assert "num_samples 20 vs 16" in refused.stderr or "num_samples 16 vs 20" in refused.stderr
    assert not (folder / "one").exists()
    frames = {len(pd.read_csv(table)) for table in tables}
    assert frames == {3, 4}


def test_two_variants_are_compared(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    printed = run_pipeline("report", "--compare", "dcgan", "wgan", "--out", "compared", cwd=folder).stdout
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "loss bce wasserstein" in lines
    assert "generator updates 10 2" in lines
    assert any(line.startswith("fd_efficientnet_lite0 ") and line.endswith("unknown") for line in lines)
    assert (folder / "compared" / "compare.md").read_text().startswith("# A against B\n")


def test_a_dataset_that_changed_is_refused(finished: tuple[Path, str], client: MlflowClient) -> None:
    folder, _ = finished
    run = trainings(client)["wgan_sgd-s0"]
    run_id = run.info.run_id
    client.set_tag(run_id, "dataset_digest", "0" * 64)
    result = run_pipeline("evaluate", "--run", run_id, "--num-samples", "16", cwd=folder, check=False)
    client.set_tag(run_id, "dataset_digest", run.data.tags["dataset_digest"])
    assert result.returncode == 1
    assert "was trained on 000000000000. Prepare the images" in result.stderr


def test_a_cell_that_fails_is_recorded_and_the_rest_goes_on(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    diverges = "{optimizer: {name: sgd, lr: 1e6, momentum: 0.9}, weight_clip: null, discriminator_steps: 1}"
    diverging = SUITE.replace("seeds: [0]", "seeds: [2]").replace("  - variant: wgan\n", "")
    diverging = diverging.replace("- variant: dcgan", f"- variant: wgan\n    set: {diverges}")
    (folder / "diverging.yaml").write_text(diverging)
    result = run_pipeline("run", "diverging.yaml", "--out", "failed", cwd=folder, check=False)
    assert result.returncode == 1
    assert "1 cell(s) of suite 'diverging.yaml' failed: wgan-s2" in result.stderr
    report = (folder / "failed" / "report.md").read_text()
    assert "diverged" in report
    assert "wgan_sgd-s2" in report


def test_torch_is_deterministic_between_processes(finished: tuple[Path, str], tmp_path: Path) -> None:
    """The same command with the same seed in another folder: the same losses and the same samples."""
    folder, _ = finished
    (tmp_path / "data").symlink_to(folder / "data")
    options = ["--variant", "dcgan", "--data", "tiny", "--set", "batch_size=8", "--set", "max_steps=10"]
    options += ["--evaluate-every", "0"]
    run_pipeline("train", *options, cwd=tmp_path)
    weights = []
    for each in (folder, tmp_path):
        found = MlflowClient(f"sqlite:///{each / 'mlflow.db'}")
        run = trainings(found)["dcgan-s0"]
        history = found.get_metric_history(run.info.run_id, "train/loss_generator")
        path = found.download_artifacts(run.info.run_id, "generator/last.pt", str(tmp_path))
        content = torch.load(path, weights_only=True)
        weights.append((content["weights"], [(p.step, p.value) for p in history], run.data.tags["fingerprint"]))
    assert weights[0][1:] == weights[1][1:]
    assert all(torch.equal(a, b) for a, b in zip(weights[0][0].values(), weights[1][0].values(), strict=True))
