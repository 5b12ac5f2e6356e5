"""Curves of many runs at once: MLflow's own interface asks for one curve of one run at a time, 50 ms each."""

from collections.abc import Mapping, Sequence

import numpy as np
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlMetric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from numpy.typing import NDArray
from sqlalchemy import case, select

Points = NDArray[np.float64]
RUNS_AT_ONCE = 200  # in one query: databases limit the number of its parameters
LARGEST = 1e308  # what MLflow stores for infinity is larger


def histories(
    client: MlflowClient, run_ids: Sequence[str], metrics: Sequence[str], steps: Sequence[int] | None = None
) -> dict[str, dict[str, Points]]:
    """Return curves by run and metric, each a step and a value a row [N, 2], by step.

    Of two points of one step the later counts. steps: only the points of these. Runs without any of the metrics have
    an empty entry.
    """
    store = client._tracking_client.store
    read = _read_database if isinstance(store, SqlAlchemyStore) else _read_server
    rows: dict[tuple[str, str], dict[int, float]] = {}
    if metrics:
        for start in range(0, len(run_ids), RUNS_AT_ONCE):
            for run_id, metric, step, value in read(client, run_ids[start : start + RUNS_AT_ONCE], metrics, steps):
                rows.setdefault((run_id, metric), {})[step] = value
    found: dict[str, dict[str, Points]] = {run_id: {} for run_id in run_ids}
    for (run_id, metric), points in rows.items():
        table = np.array(sorted(points.items()), dtype=np.float64)
        values = table[:, 1]
        table[:, 1] = np.where(np.abs(values) > LARGEST, np.copysign(np.inf, values), values)
        found[run_id][metric] = table
    return found


Row = tuple[str, str, int, float]


def _read_database(
    client: MlflowClient, run_ids: Sequence[str], metrics: Sequence[str], steps: Sequence[int] | None
) -> Sequence[Row]:
    """Read MLflow's table of metrics, oldest points first."""
    value = case((SqlMetric.is_nan, None), else_=SqlMetric.value)
    query = (
        select(SqlMetric.run_uuid, SqlMetric.key, SqlMetric.step, value)
        .where(SqlMetric.run_uuid.in_(run_ids), SqlMetric.key.in_(metrics))
        .order_by(SqlMetric.timestamp, SqlMetric.value)
    )
    if steps is not None:
        query = query.where(SqlMetric.step.in_(steps))
    with client._tracking_client.store.engine.connect() as connection:
        return [
            (run_id, metric, step, np.nan if number is None else number)
            for run_id, metric, step, number in connection.execute(query)
        ]


def _read_server(
    client: MlflowClient, run_ids: Sequence[str], metrics: Sequence[str], steps: Sequence[int] | None
) -> Sequence[Row]:
    """Ask for each curve that a run has."""
    rows: list[Row] = []
    for run_id in run_ids:
        known: Mapping[str, float] = client.get_run(run_id).data.metrics
        for metric in (each for each in metrics if each in known):
            points = sorted(client.get_metric_history(run_id, metric), key=lambda point: point.timestamp)
            rows += [(run_id, metric, p.step, p.value) for p in points if steps is None or p.step in steps]
    return rows
