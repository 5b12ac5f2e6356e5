"""The tracking store: the only package that imports MLflow."""

import os

from pipeline.tracking.outbox import Outbox
from pipeline.tracking.runs import (
    EVALUATION,
    FINAL_INTERPOLATION,
    FINAL_SAMPLES,
    PROJECT,
    Run,
    RunWriter,
    Stage,
    StoreError,
)
from pipeline.tracking.store import Store, connect, ui_hint

__all__ = [
    "EVALUATION",
    "FINAL_INTERPOLATION",
    "FINAL_SAMPLES",
    "PROJECT",
    "Outbox",
    "Run",
    "RunWriter",
    "Stage",
    "Store",
    "StoreError",
    "connect",
    "ui_hint",
]

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # the stages have bars of their own
