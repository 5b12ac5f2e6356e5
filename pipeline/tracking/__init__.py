"""The tracking store: the only package that imports MLflow."""

from pipeline.tracking.runs import EVALUATION, PROJECT, Run, RunWriter, Stage
from pipeline.tracking.store import Store, connect, ui_hint

__all__ = ["EVALUATION", "PROJECT", "Run", "RunWriter", "Stage", "Store", "connect", "ui_hint"]
