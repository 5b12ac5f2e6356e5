"""The tracking store: the only package that imports MLflow."""

import os

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from pipeline.tracking.runs import EVALUATION, PROJECT, Run, RunWriter, Stage
from pipeline.tracking.store import Store, connect, ui_hint

__all__ = ["EVALUATION", "PROJECT", "Run", "RunWriter", "Stage", "Store", "StoreError", "connect", "ui_hint"]

StoreError = (MlflowException, SQLAlchemyError)
"""What a store that cannot be used raises."""

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # the stages have bars of their own
