"""The command line in processes of its own, without the ten seconds that its imports take.

A server imports everything once and forks a process for each command: it sees its arguments, environment, signals and
exit status as if it had been started by a shell. Nothing has run in the server, so a child can use every device.
"""

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = [
    "pipeline.cli",
    "pipeline.run",
    "pipeline.tracking.models",
    "mlflow.pytorch",
    "mlflow.pyfunc",
    "torch._dynamo",
]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Running:
    """A process whose output goes to two files."""

    process: BaseProcess
    output: Path
    errors: Path

    @property
    def pid(self) -> int:
        """Its number."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative after a signal; None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 600.0) -> int:
        """Return its exit status once it has ended."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"still running after {seconds} s:\n{self.errors.read_text()}")
        return self.process.exitcode


def start(
    target: Callable[..., Any], *arguments: Any, cwd: Path, logs: Path, environment: Mapping[str, str]
) -> Running:
    """Run a function of a module in a process of its own, in a folder, with just this environment."""
    logs.mkdir(parents=True, exist_ok=True)
    number = len(list(logs.iterdir()))
    output, errors = logs / f"{number}.out", logs / f"{number}.err"
    for file in (output, errors):
        file.touch()
    process = CONTEXT.Process(target=_child, args=(target, arguments, cwd, output, errors, dict(environment)))
    process.start()
    return Running(process, output, errors)


def start_pipeline(*arguments: str, cwd: Path, logs: Path, environment: Mapping[str, str]) -> Running:
    """Run `pipeline ARGUMENTS`."""
    return start(_pipeline, arguments, cwd=cwd, logs=logs, environment=environment)


def _child(
    target: Callable[..., Any],
    arguments: tuple[Any, ...],
    cwd: Path,
    output: Path,
    errors: Path,
    environment: dict[str, str],
) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for file, descriptor in ((output, 1), (errors, 2)):
        os.dup2(os.open(file, os.O_WRONLY), descriptor)
    target(*arguments)


def _pipeline(arguments: tuple[str, ...]) -> None:
    from pipeline.cli import main

    sys.argv = ["pipeline", *arguments]
    main()
