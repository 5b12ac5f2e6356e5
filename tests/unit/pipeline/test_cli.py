"""What a person types wrong gets one line and a non-zero exit status."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.options import split_overrides


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process; return exit status, output and errors."""
    monkeypatch.setattr(sys, "argv", ["pipeline", *arguments])
    monkeypatch.setattr(sys.modules["__main__"], "__package__", "")  # else click's hints say `python -m pytest`
    try:
        main()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--variant", "wgna"], "--variant must be one of the variants dcgan, dcgan_51, wgan, wgan_sgd"),
        (["train"], "Missing option '--variant'. See pipeline train --help."),
        (["train", "--variant", "dcgan", "--epochs", "0"], "Invalid value for '--epochs': 0 is not in the range x>=1."),
        (["train", "--variant", "dcgan", "--epochs", "x"], "Invalid value for '--epochs'"),
        (["train", "--variant", "dcgan", "--data", "nothing"], "nothing"),
        (["train", "--variant", "dcgan", "--set", "optimizer.lrr=1"], "optimizer.lrr is not a field"),
        (["train", "--variant", "dcgan", "--seed", "-1"], "Invalid value for '--seed'"),
        (["train", "--variant", "dcgan", "--data", "tiny", "--device", "gpu"], "--device must be auto, cpu, cuda"),
        (["train", "--variant", "dcgan", "--lr", "1"], "No such option"),
        (
            ["train", "--variant", "dcgan", "--precision", "fp16"],
            "Invalid value for '--precision': 'fp16'",
        ),
        (["train", "--variant", "dcgan", "--set", "precision=fp61"], "precision must be one of auto, fp32, tf32, bf16"),
        (["train", "--variant", "dcgan", "--precision", "tf32", "--device", "cpu"], "tf32 needs a CUDA device"),
        (["train", "--variant", "dcgan", "--max-seconds", "0"], "Invalid value for '--max-seconds'"),
        (["train", "--variant", "dcgan", "--evaluate-every", "-1"], "Invalid value for '--evaluate-every'"),
        (["prepare", "--source", "no-such-folder"], "no-such-folder"),
        (["prepare", "--source", "notes.txt"], "notes.txt"),
        (["prepare", "--num-images", "0"], "Invalid value for '--num-images'"),
        (["sample", "--run", "0123456789"], "there is no run '0123456789'"),
        (["evaluate", "--run", "0123456789"], "there is no run '0123456789'"),
        (["evaluate"], "Give one of --run ID, --variant NAME and --real DATASET"),
        (["evaluate", "--variant", "dcgan"], "'dcgan' has no finished run"),
        (["evaluate", "--real", "nothing"], "nothing"),
        (["evaluate", "--run", "x", "--extractor", "resnet"], "Invalid value for '--extractor'"),
        (["show", "wgna"], "Did you mean 'wgan'?"),
        (["run", "dmeo"], "Did you mean 'demo'?"),
        (["report"], "pipeline train"),
        (["tarin"], "No such command 'tarin'"),
    ],
)
def test_one_line_and_a_non_zero_status(
    arguments: list[str],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("no picture")
    status, _, errors = run(monkeypatch, capsys, *arguments)
    assert status in (1, 2)
    assert words in errors
    lines = [line for line in errors.splitlines() if line.strip()]
    assert len(lines) == 1, errors
    assert lines[0].startswith("Error: ")


def test_a_relative_store_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    status, _, errors = run(monkeypatch, capsys, "report")
    assert status == 1
    assert f"must be absolute, got 'sqlite:///mlflow.db'. Use sqlite:///{tmp_path}/mlflow.db" in errors


def test_a_password_in_the_address_of_the_store_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+nodriver://me:secret@127.0.0.1:1/runs")
    status, output, errors = run(monkeypatch, capsys, "report")
    assert status == 1
    assert "secret" not in output + errors
    assert "127.0.0.1:1/runs cannot be used" in errors


def test_an_empty_option_is_one_that_was_not_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, errors = run(
        monkeypatch, capsys, "train", "--variant", "dcgan", "--epochs", "", "--set", "", "--data", "nothing"
    )
    assert status == 1
    assert "nothing" in errors


def test_one_value_may_hold_several_overrides() -> None:
    found = split_overrides(None, None, ["a.b=1  c={name: sgd, lr: 1e-4} d=null", "", "e=x y"])  # type: ignore[arg-type]
    assert found == ("a.b=1", "c={name: sgd, lr: 1e-4}", "d=null", "e=x y")


def test_show_prints_the_reports_numbers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, output, _ = run(monkeypatch, capsys, "show", "wgan_sgd")
    assert status == 0
    for number in ("3,380,227", "4,316,545", "81,651", "16,330", "[-1, 256, 17, 17]"):
        assert number in output
    status, output, _ = run(monkeypatch, capsys, "show", "dcgan", "--json", "--num-images", "640")
    assert status == 0
    assert '"steps": 200' in output


def test_the_report_and_the_command_line_do_not_load_torch() -> None:
    """Which takes seconds, and reports are short."""
    script = "import sys, pipeline.cli, pipeline.report, pipeline.ui; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
