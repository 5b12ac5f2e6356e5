"""A GPU that fails or disappears is reported as that, and costs nothing that was stored.

Simulated, since it cannot be done to a real one: a step on the processor meets the error that a step on a GPU would.
The error is torch's own, from the CUDA runtime, where torch was built for CUDA and there is no driver; elsewhere it is
made with the same type and text. So the device that the messages name is the processor.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

import gan.training
import pipeline.metrics.extractors
from gan.devices import device_errors, memory_errors, on_device
from gan.errors import DeviceError, UserError
from pipeline.cli import main
from tests.conftest import environment, run_pipeline
from tests.processes import Running, start

CPU = torch.device("cpu")
STEPS = 8
TRAIN = ["train", "--variant", "wgan", "--data", "tiny", "--set", "batch_size=4", "--set", f"max_steps={STEPS}"]
SUITE = """
title: Two cells
dataset: {name: tiny, sources: [avatars], num_images: 20}
seeds: [0]
evaluation: {extractors: [efficientnet_lite0], num_samples: 4}
set: {batch_size: 4, max_steps: 8}
cells: [{variant: wgan}, {variant: dcgan}]
"""


def fail() -> None:
    """Raise what torch raises when CUDA fails."""
    if torch.version.cuda is not None and not torch.cuda.is_available():
        torch._C._cuda_synchronize()
    raise torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later.")


def failing_from(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that fails from its so many-th call on: a lost device does not come back by itself."""
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        return fail() if calls >= call else function(*arguments, **options)

    return counted


def lose_it_in_step_five(*arguments: str) -> None:
    """Run the command line on a device that is lost in the fifth step; a checkpoint is written after every step."""
    gan.training.CHECKPOINT_SECONDS = 0.0
    gan.training.train_step = failing_from(5, gan.training.train_step)  # type: ignore[attr-defined]
    sys.argv = ["pipeline", *arguments]
    main()


def lose_it_while_measuring(*arguments: str) -> None:
    """Run the command line on a device that is lost in the second batch of an extractor."""
    extractor = pipeline.metrics.extractors.Extractor
    extractor.__call__ = failing_from(2, extractor.__call__)  # type: ignore[method-assign]
    sys.argv = ["pipeline", *arguments]
    main()


def begin(target: Callable[..., None], *arguments: str, folder: Path) -> Running:
    return start(target, *arguments, cwd=folder, logs=folder / "logs", environment=environment())


def trainings(folder: Path) -> list[Any]:
    return list(MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_runs(["1"], "tags.stage = 'train'"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_pipeline("prepare", "--num-images", "20", "--name", "tiny", cwd=folder)
    run_pipeline(*TRAIN, cwd=folder)
    return folder


def last_weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("checkpoints/*/last.pt")
    weights: dict[str, torch.Tensor] = torch.load(file, weights_only=True)["weights"]
    return weights


@pytest.mark.slow
def test_a_training_says_it_in_a_line_and_goes_on_from_the_last_checkpoint(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(undisturbed / "data")
    lost = begin(lose_it_in_step_five, *TRAIN, folder=tmp_path)
    assert lost.wait() == 1
    message = lost.errors.read_text().splitlines()[-1]
    assert message.startswith("Error: cpu (")
    assert "failed or disappeared: " in message
    assert "The last checkpoint is kept: the same command goes on from it once the device is back" in message
    assert "--device cpu or cuda:N and --precision fp32" in message
    assert "Traceback" not in lost.errors.read_text()
    (run,) = trainings(tmp_path)
    assert run.info.status == "FAILED"
    assert max(tmp_path.glob("checkpoints/*/step-*.pt")).stem == "step-000000004"

    run_pipeline(*TRAIN, "--device", "cpu", "--precision", "fp32", cwd=tmp_path)
    (run,) = trainings(tmp_path)  # the same one
    assert run.info.status == "FINISHED"
    expected = last_weights(undisturbed)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in last_weights(tmp_path).items())


@pytest.mark.slow
def test_a_suite_stops_instead_of_failing_in_every_cell(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(undisturbed / "data")
    (tmp_path / "two.yaml").write_text(SUITE)
    lost = begin(lose_it_in_step_five, "run", "two.yaml", folder=tmp_path)
    assert lost.wait() == 1
    errors = lost.errors.read_text()
    assert errors.count("failed or disappeared") == 1
    assert "[2/2]" not in errors
    assert "Traceback" not in errors
    assert len(trainings(tmp_path)) == 1
    assert not (tmp_path / "reports").exists()


def test_a_measurement_says_it_in_a_line(undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(undisturbed / "data")
    command = ["evaluate", "--real", "tiny", "--num-samples", "8"]
    lost = begin(lose_it_while_measuring, *command, folder=tmp_path)
    assert lost.wait() == 1
    errors = lost.errors.read_text()
    assert "failed or disappeared: " in errors
    assert "the same command does the rest, on another --device too." in errors
    assert "Traceback" not in errors
    assert "final/fd_efficientnet_lite0" not in errors
    assert "fd_efficientnet_lite0" in run_pipeline(*command, cwd=tmp_path).stdout


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\nCompile with TORCH_USE_CUDA_DSA."),
        torch.cuda.CudaError(719),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle, opa, opb)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA driver error: device is lost"),
        RuntimeError("No CUDA GPUs are available"),
    ],
)
def test_every_way_in_which_torch_says_it_is_known(error: RuntimeError) -> None:
    message = r"^cpu .* failed or disappeared: .* Go on\.$"
    with pytest.raises(DeviceError, match=message) as caught, device_errors(CPU, "Go on."):
        raise error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_bugs_of_ours_stay_bugs(error: RuntimeError) -> None:
    with pytest.raises(type(error)) as caught, device_errors(CPU, "Go on."):
        raise error
    assert not isinstance(caught.value, UserError)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_little_memory_is_no_failure(error: RuntimeError) -> None:
    with (
        pytest.raises(UserError, match=r"ran out of memory\. Free memory that others hold") as caught,
        on_device("cpu", "."),
    ):
        raise error
    assert not isinstance(caught.value, DeviceError)
    with pytest.raises(UserError, match=r"at batch_size 64\. Use a smaller one"), memory_errors(CPU, 64):
        raise error
