"""The published models of a run."""

import logging
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

import gan
from gan.sampling import TrainedGenerator

REQUIREMENTS = ("torch", "numpy", "pydantic", "mlflow")


def log_models(trained: TrainedGenerator, weights: Path) -> None:
    """Log to the active run `generator`, latents to images in [-1, 1], and `sampler`, (seed, indices) to uint8 images.

    `generator` is exported by torch.export: mlflow.pytorch and mlflow.pyfunc load it without this package.
    `sampler` carries the package `gan` with it. weights: what `save_generator` wrote. A model that is there already
    stays; one that a killed process left half is finished.
    """
    requirements = [f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS]
    latents = np.zeros((2, trained.config.latent_size), dtype=np.float32)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype("float32"), (-1, trained.config.latent_size))]),
        Schema([TensorSpec(np.dtype("float32"), (-1, 3, 64, 64))]),
    )
    network = deepcopy(trained.network).cpu().to(memory_format=torch.contiguous_format).eval()
    generator = {
        "signature": signature, "input_example": latents, "pip_requirements": requirements,
        "serialization_format": "pt2",
    }  # fmt: skip
    sampler = {
        "python_model": str(Path(__file__).with_name("sampler_model.py")),
        "artifacts": {"generator": str(weights)},
        "code_paths": [str(Path(gan.__file__).parent)],
        "pip_requirements": requirements,
        "signature": ModelSignature(
            Schema([TensorSpec(np.dtype("int64"), (-1,))]),
            Schema([TensorSpec(np.dtype("uint8"), (-1, 64, 64, 3))]),
            ParamSchema([ParamSpec("seed", "long", 0)]),
        ),
    }
    begun = _begun()
    with _quiet():
        if "generator" in begun:
            _finish(begun["generator"], partial(mlflow.pytorch.save_model, network, **generator))
        else:
            mlflow.pytorch.log_model(network, name="generator", **generator)
        if "sampler" in begun:
            _finish(begun["sampler"], partial(mlflow.pyfunc.save_model, **sampler))
        else:
            mlflow.pyfunc.log_model(name="sampler", **sampler)


def _begun() -> dict[str, LoggedModel]:
    """Return the models that the active run has, whole or not, by name."""
    active = mlflow.active_run()
    if active is None:
        return {}
    condition = f"source_run_id = '{active.info.run_id}'"
    found = MlflowClient().search_logged_models([active.info.experiment_id], condition)
    return {model.name: model for model in sorted(found, key=_is_whole)}


def _is_whole(model: LoggedModel) -> bool:
    return bool(model.status == LoggedModelStatus.READY)


def _finish(model: LoggedModel, save: Callable[..., None]) -> None:
    """Store what a killed process did not of a model; `log_model` would make another one beside it."""
    if _is_whole(model):
        return
    client, run_id = MlflowClient(), str(model.source_run_id)
    outputs = client.get_run(run_id).outputs
    if model.model_id not in [each.model_id for each in (outputs.model_outputs if outputs else [])]:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    description = Model(
        artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id
    )
    with TemporaryDirectory() as folder:
        path = Path(folder, "model")
        save(path=str(path), mlflow_model=description)
        for compiled in list(path.rglob("__pycache__")):  # of requirements being looked for, as `log_model` has it
            shutil.rmtree(compiled)
        client.log_model_artifacts(model.model_id, str(path))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch.export and MLflow say of their own internals."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
