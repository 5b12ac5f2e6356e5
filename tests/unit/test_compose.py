"""compose.yaml, docs/server.md and the tests set up the same server, and as this version of MLflow wants it."""

import configparser
import re
import shlex
import tomllib
from pathlib import Path

import mlflow
import mlflow.environment_variables
import pytest
import yaml
from mlflow.cli import server as server_command_of_mlflow
from packaging.requirements import Requirement

from tests import servers
from tests.conftest import ROOT

COMPOSE_TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
DATABASE, MLFLOW = COMPOSE["services"]["database"], COMPOSE["services"]["mlflow"]
DOCS = (ROOT / "docs/server.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SECRETS = {"POSTGRES_PASSWORD", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"}
OPTIONAL = {"MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"}  # not on loopback


def block(language: str, words: str) -> str:
    """Return the only block of docs/server.md in a language that has these words."""
    found = [each for each in re.findall(rf"```{language}\n(.*?)```", DOCS, re.DOTALL) if words in each]
    (one,) = found
    return str(one)


def documented_command() -> list[str]:
    lines = block("ini", "ExecStart").replace("\\\n", " ").splitlines()
    return shlex.split(next(line for line in lines if line.startswith("ExecStart=")).removeprefix("ExecStart="))


def settings(text: str) -> dict[str, str]:
    parsed = configparser.ConfigParser()
    parsed.read_string(text)
    return dict(parsed["mlflow"])


def known_to_mlflow(variable: str) -> bool:
    options = {option.envvar for option in server_command_of_mlflow.params}
    return variable in options or hasattr(mlflow.environment_variables, variable)


def test_the_commands_have_the_same_options_and_mlflow_knows_them() -> None:
    tested = servers.server_command(5000, Path("artifacts"), workers=4, auth=True)
    commands = (tested, MLFLOW["command"], documented_command())
    options = [{word.partition("=")[0] for word in command[2:]} for command in commands]
    assert options[0] == options[1] == options[2]
    assert options[0] <= {name for option in server_command_of_mlflow.params for name in option.opts}
    assert MLFLOW["command"][:2] == tested[:2] == ["mlflow", "server"]
    for name in ("--port", "--workers", "--app-name", "--uvicorn-opts"):
        (one,) = [word for word in MLFLOW["command"] if word.startswith(name)]
        assert one in documented_command()


def test_the_environments_have_the_same_variables_and_mlflow_knows_them() -> None:
    documented = dict(line.split("=", 1) for line in block("ini", "MLFLOW_BACKEND_STORE_URI").splitlines())
    tested = servers.server_variables("") | servers.auth_variables(Path("auth.ini"), "")
    assert set(documented) == set(MLFLOW["environment"]) == set(tested) | OPTIONAL
    for name in ("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW"):
        assert documented[name] == MLFLOW["environment"][name] == tested[name]
    for variable in set(re.findall(r"MLFLOW_[A-Z0-9_]*[A-Z]", COMPOSE_TEXT + DOCS)) - {"MLFLOW_BIND"}:
        assert known_to_mlflow(variable), variable


def test_the_settings_of_authentication_are_the_same() -> None:
    address = MLFLOW["environment"]["MLFLOW_BACKEND_STORE_URI"]
    (source,) = MLFLOW["configs"]
    assert source["target"] == MLFLOW["environment"]["MLFLOW_AUTH_CONFIG_PATH"]
    composed = settings(COMPOSE["configs"][source["source"]]["content"])
    assert composed == settings(servers.auth_settings(address, "READ"))
    documented = settings(block("ini", "database_uri"))
    assert documented | {"database_uri": address} == composed
    example = Path(mlflow.__file__).with_name("server") / "auth/basic_auth.ini"
    assert set(composed) <= set(re.findall(r"^(?:# )?(\w+) =", example.read_text(), re.MULTILINE))
    assert documented["database_uri"] in block("ini", "MLFLOW_BACKEND_STORE_URI")


def test_no_secret_has_a_default() -> None:
    assert set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT)) == SECRETS
    assert set(re.findall(r"[A-Z_]{6,}", block("bash", "> .env"))) == SECRETS
    assert set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT)) == SECRETS | OPTIONAL | {"MLFLOW_BIND"}


def test_only_this_machine_reaches_it_by_default() -> None:
    assert MLFLOW["ports"] == ["${MLFLOW_BIND:-127.0.0.1:5000}:5000"]
    assert "ports" not in DATABASE


def test_the_versions_are_those_that_were_tested() -> None:
    extra = [Requirement(each) for each in PROJECT["optional-dependencies"]["server"]]
    wanted = {"mlflow"} | {f"{each.name}[{','.join(each.extras)}]" if each.extras else each.name for each in extra}
    recipe = MLFLOW["build"]["dockerfile_inline"]
    lines = [*recipe.splitlines(), *block("bash", "/opt/mlflow/bin/pip").splitlines()]
    installs = [shlex.split(line.partition("constraints.txt ")[2]) for line in lines if "--constraint" in line]
    assert len(installs) == 2
    for each in installs:
        assert set(each) == wanted
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    (mlflow_wanted,) = [each for each in map(Requirement, PROJECT["dependencies"]) if each.name == "mlflow"]
    assert pinned["mlflow"] in mlflow_wanted.specifier
    assert all(pinned[each.name] in each.specifier for each in extra)
    (documented,) = re.findall(r"`pyproject.toml` says `(mlflow[^`]*)`", DOCS)
    assert Requirement(documented) == mlflow_wanted


def test_python_is_that_of_the_other_environments() -> None:
    (image,) = re.findall(r"FROM python:(\S+)-slim", MLFLOW["build"]["dockerfile_inline"])
    assert f"python={image}\n" in (ROOT / "conda.yaml").read_text()


@pytest.mark.parametrize("service", [DATABASE, MLFLOW], ids=["database", "mlflow"])
def test_services_are_watched_and_come_back(service: dict[str, object]) -> None:
    assert {"healthcheck", "volumes", "restart"} <= set(service)
