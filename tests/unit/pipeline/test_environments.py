import json
import platform
import socket
from getpass import getuser
from pathlib import Path

import pytest
import torch

from pipeline.environments import MOST, environments_in, name_of, with_environment
from pipeline.host import environment_of

HERE, THERE = {"device": "cpu (2 threads)", "torch": "2.14"}, {"device": "cuda (X)", "torch": "2.14"}


def test_a_run_remembers_each_environment_once_and_the_last_one_last() -> None:
    tag = ""
    for environment in (HERE, THERE, THERE, HERE):
        tag = with_environment(tag, environment)
    assert environments_in(tag) == [THERE, HERE]


def test_a_run_that_wanders_remembers_so_many_that_a_tag_holds_them() -> None:
    tag = ""
    for number in range(50):
        tag = with_environment(tag, environment_of(torch.device("cpu"), f"{number:040d}"))
    assert len(environments_in(tag)) == MOST
    assert environments_in(tag)[-1]["commit"] == f"{49:040d}"
    assert len(tag) < 5000  # MLflow's limit


@pytest.mark.parametrize("damaged", ["", "x", "{}", "3", "[1, null]", "[" * 100_000, '"text"'])
def test_what_cannot_be_read_is_none(damaged: str) -> None:
    assert environments_in(damaged) == []
    assert environments_in(with_environment(damaged, HERE)) == [HERE]


def test_equal_environments_have_one_name() -> None:
    assert name_of(HERE) == name_of(dict(reversed(HERE.items())))
    assert name_of(HERE) != name_of(THERE)


def test_the_environment_says_what_computes_and_not_whose_it_is() -> None:
    environment = environment_of(torch.device("cpu"), "c0ffee")
    assert environment["python"] == platform.python_version()
    assert environment["torch"] == torch.__version__
    assert environment["commit"] == "c0ffee"
    assert environment["device"].startswith("cpu (")
    said = json.dumps(environment)
    for secret in (socket.gethostname(), getuser(), str(Path.home()), str(Path.cwd())):
        assert len(secret) < 3 or secret not in said
    assert "commit" not in environment_of(torch.device("cpu"), "")
