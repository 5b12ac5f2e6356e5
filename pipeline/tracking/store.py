"""The tracking store: which one, its first use, finding runs and opening them."""

import errno
import logging
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import Run as MlflowRun
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from gan.errors import UserError, one_line
from gan.files import storage_errors
from pipeline.mlflow_plugin import first_use_lock
from pipeline.tracking.credentials import warn_of_unverified_server, without_credentials
from pipeline.tracking.failures import CERTIFICATES, impatient, is_unknown, reason, remedy, shown, store_errors
from pipeline.tracking.histories import Points, histories
from pipeline.tracking.runs import PROJECT, Run, RunWriter, Stage, end_active_run

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")  # as MLflow has it: ids become names of folders
PLAIN = re.compile(r"[\w .,:()+/-]*")  # texts that a search condition can hold
LONGEST_NAME = 250  # characters that are shown

log = logging.getLogger(__name__)
for _name in ("alembic", "mlflow.tracking.fluent"):
    logging.getLogger(_name).setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tracebacks of what is raised anyway


@dataclass(frozen=True)
class Store:
    """A connected tracking store and the experiment that new runs go to.

    project_run: the run that `mlflow run` made for this command, if it was started so. commit: of the code that runs;
    None: that of the repository which it lies in.
    """

    client: MlflowClient
    uri: str
    experiment_id: str
    project_run: str | None
    commit: str | None = None

    def find(self, tags: Mapping[str, str]) -> list[Run]:
        """Return this project's runs that carry these tags, of all experiments, oldest first."""
        wanted = {"project": PROJECT, **tags}
        plain = {key: value for key, value in wanted.items() if PLAIN.fullmatch(value)}  # a quote would end the text
        condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in plain.items())
        experiments = [e.experiment_id for e in self.client.search_experiments(view_type=ViewType.ACTIVE_ONLY)]
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self.client.search_runs(
                experiments, condition, max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
            )
            runs += [found for run in page if (found := _record(run)) and wanted.items() <= found.tags.items()]
            token = page.token
            if not token:
                return runs

    def get(self, run_id: str) -> Run:
        """Return a run of this project.

        Raises UserError where it does not exist, and where the store cannot say.
        """
        with store_errors(shown(self.uri)):
            try:
                run = _record(self.client.get_run(run_id)) if RUN_ID.fullmatch(run_id) else None
            except MlflowException as error:
                if not is_unknown(error):
                    raise
                run = None
        if run is None:
            raise UserError(
                f"--run: there is no run '{run_id}' in {shown(self.uri)}. `pipeline ui` lists the runs; "
                "MLFLOW_TRACKING_URI selects another store."
            ) from None
        if run.tags.get("project") != PROJECT:
            raise UserError(f"--run: '{run_id}' is not a run of this project. Choose one that `pipeline train` made.")
        return run

    @property
    def code_commit(self) -> str:
        """The commit of the code that runs, or nothing where it is not known."""
        return _git_commit() if self.commit is None else self.commit

    @property
    def artifact_location(self) -> str:
        """Where the artifacts of new runs go."""
        return str(self.client.get_experiment(self.experiment_id).artifact_location)

    def writer(self, run_id: str) -> RunWriter:
        """Return a writer that leaves the run's status alone."""
        return RunWriter(self.client, run_id)

    def steps(self, run_id: str) -> dict[str, set[int]]:
        """Return the steps at which a run has points, by curve."""
        curves = self.client.get_run(run_id).data.metrics
        return {key: {point.step for point in self.client.get_metric_history(run_id, key)} for key in curves}

    def histories(
        self, run_ids: Sequence[str], metrics: Sequence[str], steps: Sequence[int] | None = None
    ) -> dict[str, dict[str, Points]]:
        """Return curves by run and metric, each a step and a value a row [N, 2]; of all steps or of some."""
        return histories(self.client, run_ids, metrics, steps)

    def artifacts(self, run: Run, folder: str) -> list[str]:
        """Return the paths of the files in a folder of a run's artifacts, sorted; none where it is not there."""
        try:
            found = list_artifacts(artifact_uri=f"{run.artifact_uri}/{folder}")
            return sorted(f"{folder}/{Path(file.path).name}" for file in found if not file.is_dir)
        except (MlflowException, OSError):
            return []

    def all_artifacts(self, run: Run) -> list[str]:
        """Return the paths of all files among a run's artifacts, sorted; those of its published models are not.

        Raises UserError where the store cannot be used.
        """
        found: list[str] = []
        folders = [""]
        with store_errors(shown(self.uri)):
            while folders:
                folder = folders.pop()
                for file in list_artifacts(artifact_uri=f"{run.artifact_uri}/{folder}".rstrip("/")):
                    (folders if file.is_dir else found).append(f"{folder}/{Path(file.path).name}".lstrip("/"))
        return sorted(found)

    def read_artifact(self, run: Run, path: str) -> bytes | None:
        """Return the content of an artifact, or None where there is none.

        By the run's address, which is known: to ask for it by the run's id takes MLflow 20 queries.
        """
        if ".." in path.split("/"):  # parts of paths come from tags
            return None
        with TemporaryDirectory() as folder:
            try:
                return Path(download_artifacts(artifact_uri=f"{run.artifact_uri}/{path}", dst_path=folder)).read_bytes()
            except (MlflowException, OSError) as error:
                _require_space(error, Path(folder))
                return None

    def download(self, run: Run, path: str, target: Path) -> Path:
        """Copy an artifact of a run into a folder and return its path.

        Raises UserError where the run has no such artifact.
        """
        try:
            return Path(download_artifacts(artifact_uri=f"{run.artifact_uri}/{path}", dst_path=str(target)))
        except (MlflowException, OSError) as error:
            _require_space(error, target)
            raise UserError(
                f"run {run.run_id} ({run.name}, {run.status}) has no artifact {path}. Let its training finish first, "
                "or, where it was imported, export it again without --publish."
            ) from error

    @contextmanager
    def open_run(
        self, *, name: str, tags: Mapping[str, str], resume: str | None = None, description: str | None = None
    ) -> Iterator[RunWriter]:
        """Start a run, or go on with one; it ends FINISHED, or FAILED by an exception.

        A command that `mlflow run` started uses the run that was made for it.
        """
        run_id = resume or self.project_run
        all_tags = {"project": PROJECT, "mlflow.source.git.commit": self.code_commit} | dict(tags)
        with store_errors(shown(self.uri)):
            active = mlflow.start_run(
                run_id=run_id,
                experiment_id=None if run_id else self.experiment_id,
                run_name=name,
                tags={key: value for key, value in all_tags.items() if value},
                description=description,
            )
        try:
            writer = self.writer(active.info.run_id)
            writer.set_tags({"mlflow.runName": name})
            yield writer
        except BaseException:
            end_active_run("FAILED")
            raise
        with store_errors(shown(self.uri)):
            end_active_run("FINISHED")

    def log_dataset(self, name: str, digest: str, source: Mapping[str, str]) -> None:
        """Connect the active run with its dataset."""
        with store_errors(shown(self.uri)):
            mlflow.log_input(_Dataset(CodeDatasetSource(dict(source)), name=name, digest=digest[:12]), "training")

    def point_to(self, targets: Sequence[str], sentence: str) -> None:
        """Where `mlflow run` made a run for a command that writes into others, say so in it."""
        if self.project_run and self.project_run not in targets:
            writer = self.writer(self.project_run)
            writer.set_tags({"project": PROJECT, "stage": Stage.COMMAND, "targets": " ".join(targets)[:5000]})
            writer.describe(sentence)


class _Dataset(MetaDataset):
    """A dataset of which MLflow keeps name, digest (36 characters at most) and source."""

    @property
    def profile(self) -> None:
        """Nothing: the manifest says more."""


def connect() -> Store:
    """Connect to the store of MLFLOW_TRACKING_URI, else of ./mlflow.db; the first use is safe among processes.

    Raises UserError for a relative SQLite URI, which means another file in every folder, and for a store that
    cannot be used.
    """
    uri = without_credentials(os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        raise UserError(
            f"MLFLOW_TRACKING_URI: a SQLite path must be absolute, got '{uri}'. "
            f"Use sqlite:///{Path.cwd() / uri.removeprefix('sqlite:///')} or unset it."
        )
    warn_of_unverified_server(uri)
    mlflow.set_tracking_uri(uri)
    project_run = os.environ.pop("MLFLOW_RUN_ID", None)
    try:
        with first_use_lock(uri), impatient(retries=3):
            client = MlflowClient()
            experiment_id = _experiment(client, uri)
    except (MlflowException, SQLAlchemyError, ImportError) as error:  # ImportError: no driver for this database
        what = (reason(error) if uri.startswith("http") else shown(str(error).splitlines()[0][:300])).rstrip(".")
        hung_up = "Connection aborted" in what  # as servers do that expect TLS, or a certificate
        hint = remedy(error, otherwise=CERTIFICATES if hung_up else "check MLFLOW_TRACKING_URI, or unset it")
        raise UserError(
            f"The tracking store {shown(uri)} cannot be used: {what}. {hint[0].upper()}{hint[1:]}."
        ) from error
    return Store(client, uri, experiment_id, project_run)


def _experiment(client: MlflowClient, uri: str) -> str:
    """Return the experiment that the environment names, else this project's own, made where it is missing."""
    if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return experiment_id
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    location = None
    if uri.startswith("sqlite:////"):
        location = (Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / name).as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _require_space(error: Exception, folder: Path) -> None:
    """Raise UserError where a download failed for want of space in a folder; MLflow keeps the reason as text alone."""
    found = re.search(r"\[Errno (\d+)\]", str(error))
    if found and int(found[1]) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with storage_errors(folder):
            raise OSError(int(found[1]), "") from error


def _record(run: MlflowRun) -> Run | None:
    """Return what was read of a run; None, with a warning, where its id is none, which would be a path elsewhere."""
    if not RUN_ID.fullmatch(run.info.run_id):
        log.warning(
            "The tracking store has a run with the id %r, which MLflow makes for none: left out.", run.info.run_id
        )
        return None
    return Run(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        name=one_line(run.info.run_name or run.info.run_id)[:LONGEST_NAME],
        status=run.info.status,
        tags=run.data.tags,
        params=run.data.params,
        metrics=run.data.metrics,
        start_time=run.info.start_time,
        artifact_uri=run.info.artifact_uri,
    )


def _git_commit() -> str:
    """Return the commit of the code, or nothing where it is not in a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]  # a console script does not set the tag
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
