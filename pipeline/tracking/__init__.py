"""The tracking store: the only package that imports MLflow."""

import os

from pipeline.tracking.background import BackgroundOutbox
from pipeline.tracking.failures import StoreError
from pipeline.tracking.outbox import Outbox
from pipeline.tracking.runs import (
    CONFIG,
    ENVIRONMENTS,
    EVALUATION,
    INTERPOLATION_FILE,
    PROJECT,
    SAMPLES_CARD,
    SAMPLES_FILE,
    Run,
    RunWriter,
    Stage,
)
from pipeline.tracking.store import Store, connect
from pipeline.tracking.views import ui_hint

__all__ = [
    "CONFIG",
    "ENVIRONMENTS",
    "EVALUATION",
    "INTERPOLATION_FILE",
    "PROJECT",
    "SAMPLES_CARD",
    "SAMPLES_FILE",
    "BackgroundOutbox",
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
