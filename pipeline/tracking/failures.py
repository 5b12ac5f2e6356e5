"""A store that cannot be used: what happened, what to do about it, and whether the same may succeed later."""

import errno
import logging
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from gan.errors import UserError

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
