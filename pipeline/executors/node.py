"""A cell on a node of a cluster: what it needs is fetched, what it leaves goes to the tracking store."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.cells import FINISHED, Cell, Outcome
from pipeline.executors.local import slug
from pipeline.sharing.checkpoints import Sharing
from pipeline.sharing.inputs import Input

DIRECTORY = "GAN_NODE_DIRECTORY"  # environment variable
LONGEST_LOG = 200_000  # characters that travel back

PASSED_ON = ("MLFLOW_", "AWS_", "AZURE_", "GOOGLE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE")
OWN = ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI")  # of the process that asks; the address of the store is given apart
FILES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH", "REQUESTS_CA_BUNDLE")  # variables


@dataclass(frozen=True)
class Environment:
    """The variables that the tracking store and its artifacts are reached with, and the files that they name.

    It holds passwords and tokens: it travels as an argument, which Ray writes to no log, and does not show its values.
    """

    values: Mapping[str, str] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)

    @staticmethod
    def of_this_process() -> "Environment":
        """Take what is set here."""
        values = {
            name: value
            for name, value in os.environ.items()
            if name.upper().startswith(PASSED_ON) and name not in (*OWN, *FILES)
        }
        files = {name: Path(os.environ[name]).read_bytes() for name in FILES if os.environ.get(name)}
        return Environment(values, files)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Set the variables until the block ends; the files are readable for this user alone."""
        before = dict(os.environ)
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(self.values)
            for name, content in self.files.items():
                file = Path(folder, f"{name.lower()}.pem")
                file.write_bytes(content)
                os.environ[name] = str(file)
            try:
                yield
            finally:
                os.environ.clear()
                os.environ.update(before)


@dataclass(frozen=True)
class Job:
    """What all cells of a suite have in common. weights: of the extractor, where the suite names a file."""

    uri: str = field(repr=False)  # it may hold a password
    experiment_id: str
    commit: str
    dataset: Input
    weights: Input | None
    environment: Environment
    num_threads: int


def run_on_node(
    job: Job, cell: Cell, sharing: Sharing, tell: Callable[[str, float, float], None]
) -> tuple[Outcome, str]:
    """Run a cell here; return how it ended and what it printed."""
    import torch

    from pipeline.progress import told_to

    root = node_directory()
    torch.set_num_threads(job.num_threads)
    with job.environment.applied(), _captured(root / "logs" / f"{slug(cell.name)}-{sharing.token}.log") as file:
        with told_to(tell):
            outcome = _run(job, cell, sharing, root)
        return outcome, file.read_text(encoding="utf-8", errors="replace")[-LONGEST_LOG:]


def _run(job: Job, cell: Cell, sharing: Sharing, root: Path) -> Outcome:
    from dataclasses import replace

    from gan.errors import UserError
    from pipeline.cells import FAILED, run_cell_elsewhere
    from pipeline.console import log_in_lines
    from pipeline.sharing.inputs import fetch_input
    from pipeline.tracking import connect
    from pipeline.workspace import Workspace

    log_in_lines()
    os.environ["MLFLOW_TRACKING_URI"], os.environ["MLFLOW_EXPERIMENT_ID"] = job.uri, job.experiment_id
    try:
        store = replace(connect(), project_run=None, commit=job.commit)
        dataset = fetch_input(job.dataset, store, root / "inputs")
        if job.weights is not None:
            weights = fetch_input(job.weights, store, root / "inputs") / job.weights.name
            measurements = tuple(replace(each, weights=weights) for each in cell.measurements)
            cell = replace(cell, measurements=measurements)
    except UserError as error:
        return Outcome(FAILED, str(error).rstrip("."))
    workspace = Workspace(root, datasets=dataset.parent)
    outcome = run_cell_elsewhere(cell, store=store, workspace=workspace, sharing=sharing)
    if outcome.status == FINISHED and outcome.run_id:  # its generators are in the store
        shutil.rmtree(workspace.checkpoints / outcome.run_id, ignore_errors=True)
    return outcome


def node_directory() -> Path:
    """Return the folder of this machine for datasets, checkpoints and features."""
    return Path(os.environ.get(DIRECTORY) or Path.home() / ".cache" / "gan-benchmark").absolute()


def host() -> str:
    """Return what a person calls this machine."""
    return socket.gethostname()


@contextlib.contextmanager
def _captured(file: Path) -> Iterator[Path]:
    """Send what this process prints to a file until the block ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    before = [os.dup(descriptor) for descriptor in (1, 2)]
    target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(target, descriptor)
    os.close(target)
    try:
        yield file
    finally:
        for descriptor, old in zip((1, 2), before, strict=True):
            os.dup2(old, descriptor)
            os.close(old)
