"""A disk that is full, for real: a limit on the size of files, and a small file system where one may be mounted.

Each stage says it in one line with the remedy, leaves nothing half written, and the same command finishes once there
is room. More of it: test_prepare.py (the workers of prepare), test_interruption.py (a checkpoint that does not fit).
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.cli import main
from tests.conftest import environment, run_pipeline
from tests.processes import Running, start

PREPARE = ["prepare", "--num-images", "24", "--held-out", "4", "--name", "tiny"]
TRAIN = ["train", "--variant", "dcgan", "--data", "tiny", "--set", "batch_size=4", "--set", "max_steps=2"]
EVALUATE = ["evaluate", "--variant", "dcgan", "--num-samples", "8"]
FLOOR = ["evaluate", "--real", "tiny", "--num-samples", "8"]
REPORT = ["report"]


def limited(num_bytes: int, *arguments: str) -> None:
    """Run the command line where no file may grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.RLIM_INFINITY))
    sys.argv = ["pipeline", *arguments]
    main()


def error_of(running: Running) -> str:
    """Return the only line of an error, once a command has failed with it."""
    assert running.wait() == 1, running.errors.read_text()
    errors = running.errors.read_text()
    assert "Traceback" not in errors
    (line,) = [line for line in errors.splitlines() if line.startswith("Error: ")]
    assert errors.rstrip().endswith(line)
    return line


def run_limited(num_bytes: int, *arguments: str, folder: Path) -> str:
    return error_of(start(limited, num_bytes, *arguments, cwd=folder, logs=folder / "logs", environment=environment()))


def half_written(folder: Path) -> list[str]:
    """Return hidden files and folders; locks, which are empty, and the index of the report are no leftovers."""
    known = ("logs", ".report.json")
    return [
        str(path.relative_to(folder))
        for path in folder.rglob(".*")
        if path.suffix != ".lock" and path.name not in (*known, ".lock")
    ]


def statuses(folder: Path) -> set[str]:
    """Return the statuses of all runs of a folder's store."""
    return {run.info.status for run in MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_runs(["1"])}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run_pipeline(*PREPARE, cwd=folder)
    run_pipeline(*TRAIN, "--evaluate-every", "0", cwd=folder)
    return folder


def test_a_store_that_does_not_fit_is_made_later(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(trained / "data")
    line = run_limited(100_000, *FLOOR, folder=tmp_path)
    assert "The tracking store sqlite:////" in line
    assert "ulimit -f" in line
    assert half_written(tmp_path) == []
    assert not (tmp_path / "mlflow.db").exists()
    run_pipeline(*FLOOR, cwd=tmp_path)
    assert statuses(tmp_path) == {"FINISHED"}


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (EVALUATE, "cannot be written: File too large; raise the limit on the size of a file"),  # the generator
        (FLOOR, "/mlflow.db failed: disk I/O error; check its disk and the limit on the size of a file (ulimit -f)"),
    ],
)
def test_a_measurement_that_does_not_fit_is_made_again(command: list[str], what: str, trained: Path) -> None:
    line = run_limited((trained / "mlflow.db").stat().st_size // 2, *command, folder=trained)
    assert what in line
    assert half_written(trained) == []
    assert "fd_efficientnet_lite0" in run_pipeline(*command, cwd=trained).stdout
    assert statuses(trained) == {"FINISHED"}


def test_a_report_that_does_not_fit_leaves_the_one_before(trained: Path) -> None:
    run_pipeline(*TRAIN, "--seed", "1", "--evaluate-every", "0", cwd=trained)
    run_pipeline(*EVALUATE, cwd=trained)
    run_pipeline(*REPORT, cwd=trained)
    reports = trained / "reports"
    before = {path: path.read_bytes() for path in reports.rglob("*") if path.is_file()}
    other = [*REPORT, "--no-training-images"]
    run_pipeline(*other, "--out", "elsewhere", cwd=trained)
    size = (trained / "elsewhere" / "report.html").stat().st_size  # all pictures are in it
    assert size > max(path.stat().st_size for path in (trained / "mlruns").rglob("*.png")), "which are read before"
    line = run_limited(size - 1, *other, folder=trained)
    assert line == (
        f"Error: {reports}: cannot be written: File too large; raise the limit on the size of a file (ulimit -f) or "
        "choose another file system."
    )
    assert {path: path.read_bytes() for path in reports.rglob("*") if path.is_file()} == before
    run_pipeline(*other, cwd=trained)
    assert (reports / "report.md").read_bytes() != before[reports / "report.md"]
    assert statuses(trained) == {"FINISHED"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 MB, with a folder to work in."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    (mounted / "work").mkdir()
    yield mounted / "work"
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def fill(folder: Path, free: int) -> Path:
    """Take all space of a folder's file system but for so many bytes; return the file that does."""
    ballast = folder.parent / "ballast"
    state = os.statvfs(folder)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, state.f_bavail * state.f_frsize - free)
    return ballast


@pytest.mark.slow
def test_every_stage_on_a_full_file_system(disk: Path, tmp_path: Path) -> None:
    """Bytes that are free: none, or so many that the stage begins to write."""
    stages = [
        (PREPARE, 0, f"{disk}/data"),
        (PREPARE, 200_000, f"{disk}/data/tiny: cannot be written: No space left on device; free some space"),
        (TRAIN, 0, f"The tracking store sqlite:///{disk}/mlflow.db cannot be used"),
        (TRAIN, 3_000_000, f"{disk}/checkpoints/"),
        (EVALUATE, 0, f"The tracking store sqlite:///{disk}/mlflow.db failed"),
        (FLOOR, 0, f"The tracking store sqlite:///{disk}/mlflow.db failed"),
        (REPORT, 0, f"{disk}/reports: cannot be written: No space left on device; free some space"),
        (REPORT, 300_000, f"{disk}/reports: cannot be written: No space left on device; free some space"),
    ]
    for number, (command, free, expected) in enumerate(stages):
        ballast = fill(disk, free)
        line = error_of(
            start(limited, 2**40, *command, cwd=disk, logs=tmp_path / f"logs{number}", environment=environment())
        )
        assert line.startswith(f"Error: {expected}"), line
        assert "ree some space and run the same command again" in line
        assert half_written(disk) == [], line
        assert not list(disk.glob("reports/**/*.*")), line
        ballast.unlink()
        if number == len(stages) - 1 or stages[number + 1][0] is not command:
            run_pipeline(*command, cwd=disk)
    assert statuses(disk) == {"FINISHED"}
    assert (disk / "reports" / "report.html").stat().st_size > 100_000
