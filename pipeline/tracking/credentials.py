"""What MLflow would print: passwords in a server's address, and a warning at every request that trusts any server."""

import logging
import os
import re
import warnings
from urllib.parse import unquote

from mlflow.environment_variables import MLFLOW_TRACKING_INSECURE_TLS

log = logging.getLogger(__name__)


def without_credentials(uri: str) -> str:
    """Return a server's address without the user and password in it, which the environment has from then on.

    MLflow prints the address at the end of every run. Addresses of databases stay as they are.
    """
    found = re.fullmatch(r"(https?://)([^/:]*):?([^/]*)@([^/@]*(?:/.*)?)", uri, re.DOTALL)
    if not found:
        return uri
    scheme, user, password, place = found.groups()
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(user), unquote(password)
    return f"{scheme}{place}"


def warn_of_unverified_server(uri: str) -> None:
    """Say once, instead of at every request, that MLFLOW_TRACKING_INSECURE_TLS is set."""
    if uri.startswith("https:") and MLFLOW_TRACKING_INSECURE_TLS.get():  # type: ignore[no-untyped-call]
        log.warning(
            "MLFLOW_TRACKING_INSECURE_TLS is set: anybody on the way to the tracking server can read the password and "
            "change the runs. MLFLOW_TRACKING_SERVER_CERT_PATH is the safe way."
        )
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
