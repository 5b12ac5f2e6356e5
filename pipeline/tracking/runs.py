"""One run of the tracking store: what is read of it, what is written to it, and what an outage is."""

import errno
import logging
import math
import os
import re
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking.multimedia import compress_image_size
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES
from PIL import Image
from sqlalchemy.exc import SQLAlchemyError

from gan.errors import UserError

PROJECT = "gan-benchmark"
# Tags that hold JSON. The UI hides tags that begin with "mlflow.": these would be columns wider than the page.
EVALUATION = "mlflow.gan.evaluation."  # + extractor, protocol hash and checkpoint, with dots between: a result
CONFIG = "mlflow.gan.config"  # the resolved configuration
ENVIRONMENTS = "mlflow.gan.environments"  # where it was trained: a list, the last one last

COLOUR, DESCRIPTION = "mlflow.runColor", "mlflow.note.content"  # tags that the UI knows

# Pictures of the last generator. The page that compares runs shows only files that are in no folder.
SAMPLES_CARD, SAMPLES_FILE, INTERPOLATION_FILE = "final/samples", "samples.png", "interpolation.png"
REQUEST_SECONDS = 10
FULL = (errno.ENOSPC, errno.EDQUOT)
TALKATIVE = ("mlflow.store.db.utils", "urllib3.connectionpool")
UNKNOWN_NAME = (  # "Invalid Host header": what happened, and what to do
    "it does not answer to this name (403)",
    "have its administrator add the name to MLFLOW_SERVER_ALLOWED_HOSTS",
)
REFUSALS = {  # the same by the HTTP status of the answer
    401: (
        "it does not know this user and password, or this token (401)",
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    ),
    403: (
        "it does not allow this user to do that (403)",
        "ask its administrator for the permission EDIT on the experiment, or set MLFLOW_EXPERIMENT_NAME to one of your "
        "own or MLFLOW_TRACKING_USERNAME to another user",
    ),
}
CERTIFICATES = (
    "check MLFLOW_TRACKING_URI (http or https?) and the files that MLFLOW_TRACKING_SERVER_CERT_PATH and "
    "MLFLOW_TRACKING_CLIENT_CERT_PATH name"
)

StoreError = (MlflowException, SQLAlchemyError)
"""What a store that cannot be used raises."""

log = logging.getLogger(__name__)


class Stage(StrEnum):
    """What a run is, in its tag `stage`."""

    TRAIN = "train"
    REAL = "real"
    REPORT = "report"
    INPUT = "input"  # a dataset or weights, for the machines that train
    COMMAND = "command"  # the shell that `mlflow run` makes for a command that writes into other runs


@dataclass(frozen=True)
class Run:
    """A run as it was read.

    status: RUNNING, SCHEDULED, FINISHED, FAILED or KILLED. metrics: the last value of each.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    start_time: int
    artifact_uri: str = ""


@dataclass(frozen=True)
class RunWriter:
    """Writes to a run without changing its status. Raises UserError, where nothing else is said, if that fails."""

    client: MlflowClient
    run_id: str

    @property
    def address(self) -> str:
        """Where the store is, for messages."""
        return shown(self.client.tracking_uri)

    def log_points(self, points: Sequence[Metric]) -> None:
        """Store up to 1000 points of curves, all or none; a point that is there exactly so stays one.

        Raises what the store raises.
        """
        self.client.log_batch(self.run_id, metrics=points, synchronous=True)

    def log_values(self, values: Mapping[str, float]) -> None:
        """Store values that have no step, rounded; one that is there already stays one point.

        The store takes the point with the latest time for the present value: another value gets a later one than what
        is there, also after the clock was set back.
        """
        with store_errors(self.address):
            now, stored = int(time.time() * 1000), self.client.get_run(self.run_id).data.metrics
            metrics = []
            for key, value in ((key, rounded(value)) for key, value in values.items()):
                if key in stored and (stored[key] == value or (math.isnan(stored[key]) and math.isnan(value))):
                    continue
                points = self.client.get_metric_history(self.run_id, key) if key in stored else []
                latest = max((point.timestamp for point in points), default=0)
                metrics.append(Metric(key, value, max(now, latest + 1), 0))
            self.client.log_batch(self.run_id, metrics=metrics)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Store parameters; a parameter that is there with the same value stays."""
        with store_errors(self.address):
            self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in params.items()])

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags."""
        with store_errors(self.address):
            self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def log_image(self, image: np.ndarray, path: str) -> None:
        """Store an image, uint8 [H, W, 3], as an artifact."""
        with store_errors(self.address):
            self.client.log_image(self.run_id, image, artifact_file=path)

    def log_image_of_series(self, image: np.ndarray, stem: str) -> None:
        """Store an image, uint8 [H, W, 3], that the UI shows with a slider; the same stem again replaces it.

        stem: `<key, with ~ for />+step+<step>+timestamp+<ms>+<uuid>`, as MlflowClient.log_image names its files. That
        makes a new name at every call, so that a second try would be a second image. Raises what the store raises.
        """
        picture = Image.fromarray(image)
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder, f"{stem}.png"), Path(folder, f"{stem}+compressed.webp")
            picture.save(files[0])
            compress_image_size(picture).save(files[1])
            for file in files:
                self.client.log_artifact(self.run_id, str(file), "images")
        self.client.log_batch(self.run_id, tags=[RunTag(MLFLOW_LOGGED_IMAGES, "True")])

    def log_image_card(self, image: np.ndarray, key: str) -> None:
        """Store an image, uint8 [H, W, 3], that a card of the UI's charts shows beside those of other runs."""
        self.log_image_of_series(image, f"{key.replace('/', '~')}+step+0+timestamp+0+{self.run_id}")

    def stems_of_images(self) -> list[str]:
        """Return the stems of the images that were stored with `log_image_of_series`, whole or in part."""
        names = [Path(file.path).name for file in self.client.list_artifacts(self.run_id, "images")]
        return sorted({name.removesuffix(".png").removesuffix("+compressed.webp") for name in names})

    def log_text(self, text: str, path: str) -> None:
        """Store a text as an artifact."""
        with store_errors(self.address):
            self.client.log_text(self.run_id, text, path)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file as an artifact."""
        with store_errors(self.address):
            self.client.log_artifact(self.run_id, str(path), folder)

    def log_files(self, directory: Path, names: Sequence[str], folder: str) -> None:
        """Store files, by their names below a directory, as artifacts below a folder."""
        for name in names:
            parent = Path(name).parent
            self.log_file(directory / name, folder if parent == Path() else f"{folder}/{parent}")

    def describe(self, markdown: str) -> None:
        """Set the text that the run's page shows."""
        self.set_tags({DESCRIPTION: markdown})


def rounded(value: float) -> float:
    """Return a value with six significant digits, but for counts: the UI shows raw floats."""
    return value if not math.isfinite(value) or float(value).is_integer() else float(f"{value:.6g}")


def end_active_run(status: str) -> None:
    """End the active run, if there is one, as FINISHED, FAILED or KILLED.

    FAILED and KILLED are news of something that matters more: where the store does not answer, that is only logged.
    """
    if status == "FINISHED":
        _end(status)
        return
    try:
        with impatient():
            _end(status)
    except (*StoreError, OSError) as error:
        log.warning("The tracking store does not answer (%s): the run is not marked %s there.", reason(error), status)


def _end(status: str) -> None:
    """End the active run; where the clock was set back meanwhile, with no duration instead of a negative one."""
    active = mlflow.active_run()
    mlflow.end_run(status)
    if active is not None and time.time() * 1000 < active.info.start_time:
        MlflowClient().set_terminated(active.info.run_id, status, end_time=active.info.start_time)


@contextmanager
def impatient(seconds: int = REQUEST_SECONDS, retries: int = 0) -> Iterator[None]:
    """Let a try of MLflow's HTTP requests inside the block take so many seconds at most; what the user set stays.

    MLflow reads these variables at every request; by default it tries for four minutes. Its tracebacks of database
    errors, and a line for every try, are left out: the callers say what happened in a line.
    """
    limits = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries), "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds)}
    ours = {name: value for name, value in limits.items() if name not in os.environ}
    levels = {logger: logger.level for logger in map(logging.getLogger, TALKATIVE)}
    os.environ.update(ours)
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
        for name in ours:
            os.environ.pop(name, None)


@contextmanager
def store_errors(address: str) -> Iterator[None]:
    """Turn what a store raises that cannot be used into a UserError: what happened, and what to do."""
    try:
        yield
    except (*StoreError, OSError) as error:
        raise UserError(f"The tracking store {address} failed: {reason(error)}; {remedy(error)}.") from error


def remedy(error: BaseException, otherwise: str = "once it works again, the same command does the rest") -> str:
    """Return what to do about an error of the store, as a part of a sentence. otherwise: where nothing is known."""
    if refusal := _refusal(error):
        return refusal[1]
    error = _innermost(error)
    text = str(error)
    if "disk is full" in text or getattr(error, "errno", None) in FULL:
        return "free some space and run the same command again"
    if "disk I/O error" in text or getattr(error, "errno", None) == errno.EFBIG:
        return "check its disk and the limit on the size of a file (ulimit -f) and run the same command again"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of the authority that signed the server's, and "
            "MLFLOW_TRACKING_URI to a name that is in it"
        )
    if "_ssl.c" in text or (isinstance(error, OSError) and "TLS" in text):  # a file is not there
        return CERTIFICATES
    return otherwise


def is_outage(error: Exception) -> bool:
    """Tell whether the same request may succeed later; no access and deleted runs are answers (4xx), not outages."""
    status = _status(error)
    busy = "QueuePool limit" in str(error)  # of a server without a free connection to its database: MLflow says 400
    return busy or status is None or status >= 500 or status in (408, 429)


def is_unknown(error: Exception) -> bool:
    """Tell whether a store says that it has no such run."""
    return not is_outage(error) and _status(error) in (400, 404)


def reason(error: BaseException) -> str:
    """Return the first line of what was at the bottom of an error, such as `[Errno 111] Connection refused`."""
    if refusal := _refusal(error):
        return refusal[0]
    error = _innermost(error)
    return shown((str(error).splitlines() or [type(error).__name__])[0][:300])


def shown(text: str) -> str:
    """Return an address, or a text with one, without the user and password that may stand in it."""
    return re.sub(r"//[^/\s]*@", "//", text)


def _refusal(error: BaseException) -> tuple[str, str] | None:
    """Return what a server's refusal means and what to do about it; None for another error."""
    return UNKNOWN_NAME if "Invalid Host header" in str(error) else REFUSALS.get(_status(error) or 0)


def _innermost(error: BaseException) -> BaseException:
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of a server's answer; None where none answered, or where there is no server."""
    response = getattr(error, "response", None)  # requests.HTTPError, of artifacts
    if response is not None:
        return int(response.status_code)
    if isinstance(error, MlflowException) and not isinstance(error.__cause__, SQLAlchemyError):
        return int(error.get_http_status_code())  # type: ignore[no-untyped-call]
    return None
