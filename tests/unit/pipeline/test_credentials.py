"""Passwords leave the address of a server before anything prints it; refusals name the variable to set."""

import logging
import os
import ssl
import warnings

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    UNAUTHENTICATED,
)

from gan.errors import UserError
from pipeline.tracking import Store
from pipeline.tracking.credentials import warn_of_unverified_server, without_credentials
from pipeline.tracking.failures import is_outage, is_unknown, reason, remedy, shown


@pytest.mark.parametrize(
    ("uri", "address", "user", "password"),
    [
        ("https://ada:secret@host:5000/mlflow", "https://host:5000/mlflow", "ada", "secret"),
        ("http://ada%40lab:a%2Fb%20c@host", "http://host", "ada@lab", "a/b c"),
        ("https://ada:p@ss@host", "https://host", "ada", "p@ss"),
        ("https://secret@host", "https://host", "secret", ""),
        ("https://host:5000/a@b", "https://host:5000/a@b", None, None),
        ("postgresql://ada:secret@host/runs", "postgresql://ada:secret@host/runs", None, None),
        ("sqlite:////tmp/a@b/mlflow.db", "sqlite:////tmp/a@b/mlflow.db", None, None),
    ],
)
def test_user_and_password_move_from_the_address_to_the_environment(
    monkeypatch: pytest.MonkeyPatch, uri: str, address: str, user: str | None, password: str | None
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # to be restored
        del os.environ[name]
    assert without_credentials(uri) == address
    assert os.environ.get("MLFLOW_TRACKING_USERNAME") == user
    assert os.environ.get("MLFLOW_TRACKING_PASSWORD") == password


def test_texts_are_shown_without_passwords() -> None:
    text = "API request to https://ada:p@ss@host:5000/api failed, postgresql://me:secret@127.0.0.1/runs too; a@b"
    assert shown(text) == "API request to https://host:5000/api failed, postgresql://127.0.0.1/runs too; a@b"


def test_trust_in_any_server_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        warn_of_unverified_server("http://host")
        assert not caplog.messages
        warn_of_unverified_server("https://host")
        warnings.warn("Unverified HTTPS request is being made to host 'host'", stacklevel=1)  # as urllib3 says
    assert len(caplog.messages) == 1
    assert not caught


def refused(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("for url: https://host/api", response=response)


HOST = "API request to endpoint /api failed with error code 403 != 200. Response body: 'Invalid Host header'"


@pytest.mark.parametrize(
    ("error", "happened", "todo"),
    [
        (MlflowException("no", UNAUTHENTICATED), "does not know this user", "_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
        (refused(401), "does not know this user", "_PASSWORD, or MLFLOW_TRACKING_TOKEN"),
        (MlflowException("no", PERMISSION_DENIED), "not allow this user", "the permission EDIT"),
        (refused(403), "not allow this user", "MLFLOW_EXPERIMENT_NAME"),
        (MlflowException(HOST, PERMISSION_DENIED), "not answer to this name", "MLFLOW_SERVER_ALLOWED_HOSTS"),
    ],
)  # fmt: skip
def test_a_refusal_is_no_outage_and_says_what_to_do(error: Exception, happened: str, todo: str) -> None:
    assert happened in reason(error)
    assert todo in remedy(error)
    assert not is_outage(error)


@pytest.mark.parametrize(
    ("error", "unknown"),
    [
        (MlflowException("no", RESOURCE_DOES_NOT_EXIST), True),
        (MlflowException("no", INVALID_PARAMETER_VALUE), True),
        (MlflowException("QueuePool limit of size 5", INVALID_PARAMETER_VALUE), False),
        (MlflowException("no", PERMISSION_DENIED), False),
        (MlflowException("no", UNAUTHENTICATED), False),
        (MlflowException("no", TEMPORARILY_UNAVAILABLE), False),
        (MlflowException("no"), False),
    ],
)
def test_only_a_store_that_says_so_has_no_such_run(error: Exception, unknown: bool) -> None:
    assert is_unknown(error) == unknown


def test_a_server_that_is_gone_is_not_said_to_lack_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = "http://127.0.0.1:9"
    with pytest.raises(UserError, match=r"Connection refused.*the same command does the rest"):
        Store(MlflowClient(address), address, "0", None).get("0" * 32)


@pytest.mark.parametrize(
    ("inner", "variable"),
    [
        (ssl.SSLCertVerificationError("certificate verify failed"), "set MLFLOW_TRACKING_SERVER_CERT_PATH to"),
        (ssl.SSLError("[SSL] PEM lib (_ssl.c:3905)"), "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
        (
            OSError("Could not find the TLS key file, invalid path: /nowhere"),
            "MLFLOW_TRACKING_CLIENT_CERT_PATH",
        ),
    ],
)
def test_trouble_with_certificates_says_what_to_do(inner: Exception, variable: str) -> None:
    error = MlflowException("API request to https://host failed with exception")
    error.__context__ = inner
    assert variable in remedy(error)
    assert reason(error) == str(inner)
