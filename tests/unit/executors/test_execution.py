"""What the options ask for, and how the GPUs of a machine are dealt out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gan.errors import UserError
from pipeline.executors.execution import Execution, deal, execution_of, threads, visible_gpus
from pipeline.options import execution_options

LOGS = Path("logs")


@pytest.mark.parametrize(
    ("jobs", "gpus", "share", "expected"),
    [
        (3, [], 1.0, ["", "", ""]),
        (2, ["0", "1"], 0.0, ["", ""]),
        (2, ["0", "1"], 1.0, ["0", "1"]),
        (1, ["0", "1"], 1.0, ["0"]),
        (4, ["2", "5"], 0.5, ["2", "2", "5", "5"]),
        (6, ["0", "1"], 1 / 3, ["0", "0", "0", "1", "1", "1"]),
        (2, ["0", "1", "2", "3"], 2.0, ["0,1", "2,3"]),
        (1, ["GPU-a1", "GPU-b2"], 1.0, ["GPU-a1"]),
    ],
)
def test_gpus_are_dealt_out(jobs: int, gpus: list[str], share: float, expected: list[str]) -> None:
    assert deal(jobs, gpus, share) == expected


@given(st.integers(1, 16), st.integers(1, 8), st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 1.0, 2.0]))
def test_no_gpu_gets_more_cells_than_fit(jobs: int, num_gpus: int, share: float) -> None:
    gpus = [str(index) for index in range(num_gpus)]
    try:
        slots = deal(jobs, gpus, share)
    except UserError:
        assert jobs * share > num_gpus - max(share, 1) + 1e-6
        return
    taken = [gpu for slot in slots for gpu in slot.split(",")]
    for gpu in gpus:
        assert taken.count(gpu) * min(share, 1) <= 1 + 1e-6


def test_too_few_gpus_are_said_with_the_remedy() -> None:
    with pytest.raises(UserError, match=r"--jobs 3: .*2 GPU\(s\).*enough for 2 cells.*--gpus-per-cell 0\.5"):
        deal(3, ["0", "1"], 1.0)


def test_only_visible_gpus_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus("auto") == ["0", "1"]
    assert visible_gpus("cpu") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 7")
    assert visible_gpus("cuda") == ["3", "7"]
    with pytest.raises(UserError, match="CUDA_VISIBLE_DEVICES=1"):
        visible_gpus("cuda:1")


def test_the_processor_s_threads_are_divided() -> None:
    assert threads(Execution(cpus=3), 2) == 3
    assert threads(Execution(), 10_000) == 1


def options(**given: Any) -> dict[str, Any]:
    """Return what the command line passes: every option, None where it was not given."""
    command = execution_options(lambda: None)
    names = {parameter.name for parameter in command.__click_params__} - {"executor"}
    assert given.keys() <= names
    return {name: given.get(name) for name in names}


def test_nothing_asked_for_is_this_process() -> None:
    assert execution_of("local", options(), logs=LOGS) is None


def test_every_option_has_its_field() -> None:
    asked = {"jobs": 4, "cpus": 2, "gpus": 0.5, "retries": 0, "address": "local", "share_seconds": 5.0, "ship": False}
    execution = execution_of("ray", options(**asked, shared=Path("nfs")), logs=LOGS)
    assert execution == Execution("ray", 4, 2, 0.5, "local", 5.0, Path("nfs"), 0, False, LOGS)


@pytest.mark.parametrize("name", ["address", "share_seconds", "shared", "ship"])
def test_options_of_ray_need_it(name: str) -> None:
    with pytest.raises(UserError, match="goes with --executor ray"):
        execution_of("local", options(jobs=2, **{name: "x"}), logs=LOGS)


@pytest.mark.parametrize(
    ("name", "option"), [("cpus", "--cpus-per-cell"), ("gpus", "--gpus-per-cell"), ("retries", "--retries")]
)
def test_options_of_many_processes_need_several(name: str, option: str) -> None:
    with pytest.raises(UserError, match=f"{option} goes with --jobs N or --executor ray"):
        execution_of("local", options(**{name: 1}), logs=LOGS)
