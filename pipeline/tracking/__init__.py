"""The tracking store: the only package that imports MLflow."""

from pipeline.tracking.runs import PROJECT, Run, RunWriter, Stage
from pipeline.tracking.store import Store, connect, ui_hint

__all__ = ["PROJECT", "Run", "RunWriter", "Stage", "Store", "connect", "ui_hint"]
