"""What the tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores; before torch is imported

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.processes import start_pipeline

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Work in an empty folder: MLflow makes a store in the working directory for the slightest reason.

    What nodes of a cluster keep goes into another one instead of the home directory.
    """
    os.chdir(tmp_path_factory.mktemp("working-directory"))
    os.environ["GAN_NODE_DIRECTORY"] = str(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="module", autouse=True)
def _no_store_of_another_module() -> None:
    """Forget the store that was used last: its server may be gone."""
    if mlflow := sys.modules.get("mlflow"):
        mlflow.set_tracking_uri(None)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the user's own tracking store and experiments out of the tests."""
    for name in list(os.environ):
        if name.startswith("MLFLOW_"):
            monkeypatch.delenv(name)
    yield


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest, so that no process is left alone with them at the end; keep files together.

    A process takes a whole group at a time: a file, or those that share a session's fixture.
    """
    items.sort(key=lambda item: "slow" not in item.keywords)
    for item in items:
        shares = "finished" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("suite" if shares else item.nodeid.partition("::")[0]))


def environment() -> dict[str, str]:
    """Return the environment of a subprocess: no tracking store but its working directory's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run_pipeline(
    *arguments: str, cwd: Path, check: bool = True, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a folder of its own. variables: more for its environment."""
    with tempfile.TemporaryDirectory() as logs:
        running = start_pipeline(
            *arguments, cwd=cwd, logs=Path(logs), environment=environment() | dict(variables or {})
        )
        status = running.wait()
        output, errors = running.output.read_text(), running.errors.read_text()
    if check:
        assert status == 0, errors
    return subprocess.CompletedProcess(arguments, status, output, errors)
