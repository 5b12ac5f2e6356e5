"""Curves of many runs at once: MLflow's own interface asks for one curve of one run at a time."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import product

import numpy as np
from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlMetric
from mlflow.store.tracking.rest_store import RestStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.rest_utils import http_request
from numpy.typing import NDArray
from sqlalchemy import case, select

Points = NDArray[np.float64]
RUNS_AT_ONCE = 200  # in one query: databases limit the number of its parameters
LARGEST = 1e308  # what MLflow stores for infinity is larger
BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"  # what the UI's charts ask for
RUNS_OF_REQUEST, POINTS_OF_ANSWER = 100, 25_000  # at most; source: MLflow 3.17, mlflow/server/handlers.py
REQUESTS_AT_ONCE = 4

Row = tuple[str, str, int, float]
"""A point: run, metric, step and value."""


def histories(
    client: MlflowClient, run_ids: Sequence[str], metrics: Sequence[str], steps: Sequence[int] | None = None
) -> dict[str, dict[str, Points]]:
    """Return curves by run and metric, each a step and a value a row [N, 2], by step.

    Of two points of one step the later counts. steps: only the points of these. Runs without any of the metrics have
    an empty entry.
    """
    rows: dict[tuple[str, str], dict[int, float]] = {}
    wanted = None if steps is None else frozenset(steps)
    for run_id, metric, step, value in _read(client, run_ids, metrics, wanted):
        rows.setdefault((run_id, metric), {})[step] = value
    found: dict[str, dict[str, Points]] = {run_id: {} for run_id in run_ids}
    for (run_id, metric), points in rows.items():
        table = np.array(sorted(points.items()), dtype=np.float64)
        values = table[:, 1]
        table[:, 1] = np.where(np.abs(values) > LARGEST, np.copysign(np.inf, values), values)
        found[run_id][metric] = table
    return found


def _read(
    client: MlflowClient, run_ids: Sequence[str], metrics: Sequence[str], steps: Collection[int] | None
) -> Iterable[Row]:
    """Return the points of each curve, oldest first, in the way that the store has for many of them."""
    store = client._tracking_client.store
    if not metrics or not run_ids:
        return []
    if isinstance(store, SqlAlchemyStore):
        return _read_database(store, run_ids, metrics, steps)
    found = _ask_for_many(client, run_ids, metrics) if isinstance(store, RestStore) else None
    rows = _ask_for_each(client, run_ids, metrics) if found is None else found
    return rows if steps is None else (row for row in rows if row[2] in steps)


def _read_database(
    store: SqlAlchemyStore, run_ids: Sequence[str], metrics: Sequence[str], steps: Collection[int] | None
) -> Iterable[Row]:
    """Read MLflow's table of metrics."""
    value = case((SqlMetric.is_nan, None), else_=SqlMetric.value)
    query = (
        select(SqlMetric.run_uuid, SqlMetric.key, SqlMetric.step, value)
        .where(SqlMetric.key.in_(metrics))
        .order_by(SqlMetric.timestamp, SqlMetric.value)
    )
    if steps is not None:
        query = query.where(SqlMetric.step.in_(sorted(steps)))
    with store.engine.connect() as connection:
        for runs in _groups(run_ids, RUNS_AT_ONCE):
            for run_id, metric, step, number in connection.execute(query.where(SqlMetric.run_uuid.in_(runs))):
                yield run_id, metric, step, np.nan if number is None else number


def _ask_for_many(client: MlflowClient, run_ids: Sequence[str], metrics: Sequence[str]) -> list[Row] | None:
    """Ask a server for a curve of many runs at a time; None where it does not offer that."""
    jobs = product(metrics, _groups(run_ids, RUNS_OF_REQUEST))
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        answers = list(pool.map(lambda job: _curves_of_group(client, *job), jobs))
    whole = [answer for answer in answers if answer is not None]
    return [row for answer in whole for row in answer] if len(whole) == len(answers) else None


def _curves_of_group(client: MlflowClient, metric: str, run_ids: Sequence[str]) -> list[Row] | None:
    """Return a curve of at most RUNS_OF_REQUEST runs; None where the server does not offer that.

    An answer has its points by run, and ends at a number of them: then the last run in it may lack some, and is asked
    for again with the runs after it; one that fills an answer alone, by MLflow's own interface, which has pages.
    """
    rows: list[Row] = []
    left = list(run_ids)
    while left:
        answer = _ask(client, metric, left)
        if answer is None:
            return None
        if len(answer) < POINTS_OF_ANSWER:
            return rows + answer
        last = answer[-1][0]
        whole = [row for row in answer if row[0] != last]
        rows += whole or _curve(client, last, metric)
        done = {row[0] for row in whole} or {last}
        left = [run_id for run_id in left if run_id not in done]
    return rows


def _ask(client: MlflowClient, metric: str, run_ids: Sequence[str]) -> list[Row] | None:
    """Return what a server answers, which may be a part; None for anything else, such as a proxy's refusal."""
    response = http_request(  # type: ignore[no-untyped-call]
        client._tracking_client.store.get_host_creds(),
        BULK,
        "GET",
        params={"run_id": run_ids, "metric_key": metric, "max_results": POINTS_OF_ANSWER},
    )
    if response.status_code != HTTPStatus.OK:
        return None
    try:
        return [(each["run_id"], metric, each["step"], each["value"]) for each in response.json()["metrics"]]
    except (ValueError, KeyError, TypeError):
        return None


def _ask_for_each(client: MlflowClient, run_ids: Sequence[str], metrics: Sequence[str]) -> Iterable[Row]:
    """Ask for each curve that a run has."""
    for run_id in run_ids:
        known: Mapping[str, float] = client.get_run(run_id).data.metrics
        for metric in (each for each in metrics if each in known):
            yield from _curve(client, run_id, metric)


def _curve(client: MlflowClient, run_id: str, metric: str) -> list[Row]:
    """Ask for one curve, of any length."""
    points = sorted(client.get_metric_history(run_id, metric), key=lambda point: point.timestamp)
    return [(run_id, metric, each.step, each.value) for each in points]


def _groups(run_ids: Sequence[str], size: int) -> list[Sequence[str]]:
    return [run_ids[start : start + size] for start in range(0, len(run_ids), size)]
