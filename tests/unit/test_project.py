"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import ROOT


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_gan_knows_nothing_of_the_pipeline() -> None:
    for path in (ROOT / "gan").rglob("*.py"):
        assert not imported(path) & {"mlflow", "click", "pipeline"}, path


def test_only_tracking_and_the_plugin_that_mlflow_loads_import_mlflow() -> None:
    for path in (ROOT / "pipeline").rglob("*.py"):
        if "tracking" not in path.parts and path.name != "mlflow_plugin.py":
            assert "mlflow" not in imported(path), path


def test_conda_yaml_follows_from_pyproject() -> None:
    subprocess.run([sys.executable, ".ci/conda_yaml.py", "--check"], cwd=ROOT, check=True)


def test_every_entry_point_is_a_command_with_these_options() -> None:
    from pipeline.cli import cli

    project = yaml.safe_load((ROOT / "MLproject").read_text())
    for name, entry in project["entry_points"].items():
        command = cli.commands["run" if name == "main" else name]
        options = {option for parameter in command.params for option in parameter.opts}
        assert re.findall(r"pipeline (\S+)", entry["command"]) == [command.name]
        assert set(re.findall(r"--[\w-]+", entry["command"])) <= options
        assert set(re.findall(r"\{(\w+)\}", entry["command"])) == set(entry.get("parameters", {}))
    by_hand = {"data", "ui", "export", "import"}  # of files and pages, nothing that MLflow should run and record
    assert {"run", *project["entry_points"]} - {"main"} == set(cli.commands) - by_hand
