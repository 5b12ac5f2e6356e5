"""A report asks a store as often for many runs as for a few; at a server it writes the tags of each run, no more."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from sqlalchemy import event

from pipeline.identity import config_hash_of
from pipeline.report import report
from pipeline.reporting.model import DENSE
from pipeline.tracking import CONFIG, EVALUATION, Stage, Store, connect
from tests.servers import mlflow_server

pytestmark = pytest.mark.slow

FEW, MANY = 15, 45  # more rows than a figure or a picture has
CURVES = ("curve/fd_lite", "curve/kd_lite", "health/diversity", "time/seconds", "train/loss_generator")
PROTOCOL = {"dataset": "faces", "dataset_digest": "d", "num_samples": 9, "extractor": "Lite0", "feature_space": "lite"}
SET_TAG = "POST /api/2.0/mlflow/runs/set-tag"
ONE_CURVE = "GET /api/2.0/mlflow/metrics/get-history"
BULK = "GET /ajax-api/2.0/mlflow/metrics/get-history-bulk"

Counting = Callable[[], AbstractContextManager[Counter[str]]]


def train(client: MlflowClient, experiment_id: str, number: int) -> None:
    """Store a run that was trained and evaluated."""
    config = {"variant": f"variant_{number}", "title": "T"}
    result = {
        "checkpoint": "last", "step": 1, "num_measured": 9, "metrics": {"fd_lite": 50.0 + number},
        "sampling_spread": {}, "estimator_error": {}, "flags": [],
    }  # fmt: skip
    tags = {
        "project": "gan-benchmark", "stage": Stage.TRAIN, "variant": config["variant"], "seed": "0", "code_hash": "c",
        "config_hash": config_hash_of(config, "d", "c"), CONFIG: json.dumps(config), "dataset": "faces",
        "dataset_digest": "d", "selection": "s", "fingerprint": str(number), "mlflow.runName": f"run {number}",
        f"{EVALUATION}lite.aaaa.last": json.dumps({"protocol_hash": "aaaa", "protocol": PROTOCOL, "result": result}),
    }  # fmt: skip
    run_id = client.create_run(experiment_id, start_time=number).info.run_id
    points = [Metric(curve, 1.0 + step, 1, step) for curve in CURVES for step in (0, 50, 100)]
    client.log_batch(run_id, metrics=points, tags=[RunTag(key, value) for key, value in tags.items()])
    client.set_terminated(run_id)


@contextmanager
def requests_sent() -> Iterator[Counter[str]]:
    """Count the requests of this process by method and path, those for a file by its folder's."""
    sent: Counter[str] = Counter()
    send = requests.Session.send

    def counting(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        path = str(request.path_url).partition("?")[0].partition("/artifacts/")[0]
        sent[f"{request.method} {path}"] += 1
        return send(session, request, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", counting)
        yield sent


@contextmanager
def statements_executed(store: Store) -> Iterator[Counter[str]]:
    """Count the statements that a database gets by their first word."""
    executed: Counter[str] = Counter()

    def count(*arguments: Any) -> None:
        executed[arguments[2].split()[0]] += 1

    engine = store.client._tracking_client.store.engine
    event.listen(engine, "before_cursor_execute", count)
    try:
        yield executed
    finally:
        event.remove(engine, "before_cursor_execute", count)


def reports_on_few_and_many(store: Store, client: MlflowClient, folder: Path, counted: Counting) -> list[Counter[str]]:
    """Return what was counted while a report on FEW runs was made, and on MANY. client: what the runs are made with."""
    counts = []
    for start, end in ((0, FEW), (FEW, MANY)):
        for number in range(start, end):
            train(client, store.experiment_id, number)
        with counted() as found:
            made = report(store=store, directory=folder / str(end))
        assert len(made.report.tables[0].rows) == end
        counts.append(found)
    return counts


def test_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a server that wants a password."""
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with mlflow_server(database, tmp_path / "server", auth=True) as server:
        for name, value in server.client_variables.items():
            monkeypatch.setenv(name, value)
        few, many = reports_on_few_and_many(connect(), MlflowClient(database), tmp_path, requests_sent)
    assert few.pop(SET_TAG) == 2 * FEW  # the colour and the page of each run
    assert 0 < many.pop(SET_TAG) <= 2 * MANY
    assert not many - few
    assert few[BULK] == len({*CURVES, *DENSE})
    assert few[ONE_CURVE] == 0


def test_statements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    store = connect()
    few, many = reports_on_few_and_many(store, store.client, tmp_path, partial(statements_executed, store))
    assert not many - few
    assert few["SELECT"] > 0
