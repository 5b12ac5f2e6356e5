"""The published models of a run."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

import gan
from gan.sampling import TrainedGenerator

REQUIREMENTS = ("torch", "numpy", "pydantic", "mlflow")


def log_models(trained: TrainedGenerator, weights: Path) -> None:
    """Log to the active run `generator`, latents to images in [-1, 1], and `sampler`, (seed, indices) to uint8 images.

    `generator` is exported by torch.export: mlflow.pytorch and mlflow.pyfunc load it without this package.
    `sampler` carries the package `gan` with it. weights: what `save_generator` wrote.
    """
    requirements = [f"{name}=={version(name).split('+')[0]}" for name in REQUIREMENTS]
    latents = np.zeros((2, trained.config.latent_size), dtype=np.float32)
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype("float32"), (-1, trained.config.latent_size))]),
        Schema([TensorSpec(np.dtype("float32"), (-1, 3, 64, 64))]),
    )
    network = deepcopy(trained.network).cpu().to(memory_format=torch.contiguous_format).eval()
    with _quiet():
        mlflow.pytorch.log_model(
            network,
            name="generator",
            signature=signature,
            input_example=latents,
            pip_requirements=requirements,
            serialization_format="pt2",
        )
        mlflow.pyfunc.log_model(
            name="sampler",
            python_model=str(Path(__file__).with_name("sampler_model.py")),
            artifacts={"generator": str(weights)},
            code_paths=[str(Path(gan.__file__).parent)],
            pip_requirements=requirements,
            signature=ModelSignature(
                Schema([TensorSpec(np.dtype("int64"), (-1,))]),
                Schema([TensorSpec(np.dtype("uint8"), (-1, 64, 64, 3))]),
                ParamSchema([ParamSpec("seed", "long", 0)]),
            ),
        )


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
