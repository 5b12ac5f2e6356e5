"""Every command of the README runs. What takes hours there is made short here, by the table below and nothing else."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from tests.conftest import ROOT, environment, run_pipeline

SHORT = " --set batch_size=4 --set max_steps=2"
SHORTER = [  # pattern, replacement
    (r"^\. \.venv/bin/activate$", "true"),  # the tests' own environment is active
    (r"^(pipeline train .*)$", r"\1" + SHORT),
    (r"^(pipeline evaluate .*)$", r"\1 --num-samples 8"),
    (r"--num-images 2000", "--num-images 16"),
    (r"^(mlflow run .* -e train .*)$", r"\1 -P data=first -P 'overrides=batch_size=4 max_steps=2'"),
    (r"^pipeline run (demo|reports|ablations)(.*)$", r"pipeline run short.yaml\2"),
    (r"--suite demo", "--suite short.yaml"),
    (r"^(python benchmarks/train_step.py .*)$", r"\1 --variants dcgan --steps 1 --rounds 1 --num-images 256"),
    (r"^mlflow ui$", "timeout --preserve-status --signal=INT 20 mlflow ui --port 5999 --workers 1"),
    (r"^pipeline ui$", "timeout --preserve-status --signal=INT 60 python -m pipeline ui --port 0"),
]
SUITE = """
title: short
dataset: {name: short, sources: [avatars], num_images: 16}
seeds: [0]
evaluation: {extractors: [efficientnet_lite0], num_samples: 8}
set: {batch_size: 4, max_steps: 2}
cells: [{variant: dcgan}]
"""


def commands() -> list[str]:
    """Return the commands of the README's shell blocks, in their order."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_two_set_up_commands_are_targets_of_the_makefile() -> None:
    assert commands()[:2] == ["make demo", "make test"]
    for command in commands()[:2]:
        subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a clone's MLproject and experiments with a user's own pictures."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    for name in ("MLproject", "conda.yaml", ".pre-commit-config.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("experiments", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "short.yaml").write_text(SUITE)
    (tmp_path / "my-images").mkdir()
    for i in range(20):
        Image.effect_noise((80, 70), 20 + 10 * i).save(tmp_path / "my-images" / f"{i}.png")
    shutil.make_archive(str(tmp_path / "more"), "zip", tmp_path / "my-images")
    return tmp_path


@pytest.mark.slow
def test_every_other_command_runs(folder: Path) -> None:
    run_pipeline("prepare", "--num-images", "16", "--name", "first", cwd=folder)  # instead of 51,223 images
    for command in commands()[2:]:
        short = command
        for pattern, replacement in SHORTER:
            short = re.sub(pattern, replacement, short)
        if "RUN_ID" in short:
            client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
            ids = [e.experiment_id for e in client.search_experiments()]
            (run, *_) = client.search_runs(ids, "tags.stage = 'train'")
            short = short.replace("RUN_ID", run.info.run_id)
        if short.startswith("pipeline "):
            done = run_pipeline(*shlex.split(short)[1:], cwd=folder, check=False)
        else:
            command_line = ["bash", "-c", short]
            done = subprocess.run(
                command_line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600
            )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    rows = json.loads((folder / "train_step.json").read_text())
    assert [row["mode"] for row in rows][:2] == ["plain", "ours fp32"]
    for row in rows:
        assert row.keys() >= {"variant", "device", "mode", "images_per_second", "ratio_to_plain"}
        assert row["ratio_to_plain"] == pytest.approx(row["images_per_second"] / rows[0]["images_per_second"])
        assert 0 < row["fraction_of_ceiling"] < 1.2
