"""A generator as a model that draws seeded samples (MLflow's models from code)."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from gan.sampling import load_generator


class Sampler(PythonModel):
    """Image i depends on (seed, i) alone.

    Input: image indices, int64 [N], or a frame with one column of them. Parameter: seed.
    Output: uint8 [N, H, W, 3].
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Read the weights."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.generator = load_generator(Path(context.artifacts["generator"]), self.device)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 -- MLflow's signature
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Return the images with these indices."""
        indices = np.asarray(model_input).reshape(-1).astype(np.int64)
        if len(indices) == 0 or indices.min() < 0:
            raise ValueError("The input must be image indices of at least 0, and at least one.")
        seed = int((params or {}).get("seed", 0))
        images = self.generator.sample_indices(indices.tolist(), seed=seed, device=self.device)
        return images.permute(0, 2, 3, 1).numpy()


mlflow.models.set_model(Sampler())
