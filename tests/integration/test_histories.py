"""Curves, artifacts and registered models: a database and a server in front of it say the same."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import SqlMetric
from sqlalchemy import insert

from gan.errors import UserError
from pipeline.tracking import Run, Stage, Store, connect
from pipeline.tracking import histories as module
from pipeline.tracking.registry import ALIAS, MODEL, register
from tests.integration.test_ui import interface

pytestmark = pytest.mark.slow

Curves = Mapping[str, list[tuple[float, float]]]
X, Y = "curve/x", "train/y"
POINTS = {  # by run and metric: step, timestamp, value, in the order in which they were logged
    "odd": {
        X: [
            (30, 1, math.nan),
            (0, 5, -1.5),
            (10, 3, math.inf),
            (20, 2, -math.inf),
            (40, 9, 7.0),  # of one step: later than the next two, but logged before them
            (40, 8, 99.0),
            (40, 7, math.nan),
            (50, 7, 99.0),
            (50, 8, math.nan),
            (60, 7, math.nan),
            (60, 8, 0.1 + 0.2),
        ],
        Y: [(-1, 1, 1.0), (2**40, 1, 1e300)],
    },
    "other": {Y: [(10, 1, 4.0)]},
    "nothing": {},
    "both": {X: [(10, 1, 0.0), (20, 1, -0.25)], Y: [(10, 1, 6.0)]},
    "last": {X: [(20, 1, 8.0)]},
}
CURVES: dict[str, Curves] = {
    "odd": {
        X: [(0, -1.5), (10, math.inf), (20, -math.inf), (30, math.nan), (40, 7.0), (50, math.nan), (60, 0.1 + 0.2)],
        Y: [(-1, 1.0), (2**40, 1e300)],
    },
    "other": {Y: [(10, 4.0)]},
    "nothing": {},
    "both": {X: [(10, 0.0), (20, -0.25)], Y: [(10, 6.0)]},
    "last": {X: [(20, 8.0)]},
}


@dataclass
class Stores:
    """One store, asked directly and through a server, and the ids of its runs by name."""

    database: Store
    server: Store
    ids: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        database = connect()
        ids = {}
        for name, curves in POINTS.items():
            with database.open_run(name=name, tags={"stage": Stage.TRAIN}) as run:
                ids[name] = run.run_id
                points = [
                    Metric(metric, value, timestamp, step)
                    for metric, logged in curves.items()
                    for step, timestamp, value in logged
                ]
                for point in points:
                    run.log_points([point])
        with interface(database.uri, folder) as ui:
            patch.setenv("MLFLOW_TRACKING_URI", ui.base)
            yield Stores(database, connect(), ids)


@pytest.fixture(params=["database", "server"])
def store(request: pytest.FixtureRequest, stores: Stores) -> Store:
    found: Store = getattr(stores, request.param)
    mlflow.set_tracking_uri(found.uri)
    return found


def curves(
    store: Store, ids: Mapping[str, str], metrics: list[str], steps: list[int] | None = None
) -> dict[str, Curves]:
    """Read curves and return them by the names of the runs."""
    found = store.histories(list(ids.values()), metrics, steps)
    assert list(found) == list(ids.values())
    read: dict[str, Curves] = {}
    for name, run_id in ids.items():
        for table in found[run_id].values():
            assert table.dtype == np.float64
            assert (table.ndim, table.shape[1]) == (2, 2)
        read[name] = {metric: [(step, value) for step, value in table] for metric, table in found[run_id].items()}
    return read


def without_nan(found: Mapping[str, Curves]) -> object:
    """Write NaN so that it is equal to itself."""
    return {
        name: {metric: [(step, str(float(value))) for step, value in points] for metric, points in each.items()}
        for name, each in found.items()
    }


def test_curves_are_what_was_logged(store: Store, stores: Stores) -> None:
    assert without_nan(curves(store, stores.ids, [X, Y])) == without_nan(CURVES)


def test_only_the_metrics_that_were_asked_for(store: Store, stores: Stores) -> None:
    only = {name: {metric: points for metric, points in each.items() if metric == X} for name, each in CURVES.items()}
    assert without_nan(curves(store, stores.ids, [X, "curve/unknown"])) == without_nan(only)
    assert curves(store, stores.ids, []) == {name: {} for name in stores.ids}
    assert store.histories([], [X]) == {}


def test_only_the_steps_that_were_asked_for(store: Store, stores: Stores) -> None:
    found = curves(store, stores.ids, [X, Y], [40, 20, 999, 2**40])
    assert found == {
        "odd": {X: [(20, -math.inf), (40, 7.0)], Y: [(2**40, 1e300)]},
        "other": {},
        "nothing": {},
        "both": {X: [(20, -0.25)]},
        "last": {X: [(20, 8.0)]},
    }
    assert curves(store, stores.ids, [X, Y], []) == {name: {} for name in stores.ids}


def test_more_runs_than_one_query_takes(store: Store, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RUNS_AT_ONCE", 2)
    monkeypatch.setattr(module, "RUNS_OF_REQUEST", 2)
    assert without_nan(curves(store, stores.ids, [X, Y])) == without_nan(CURVES)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8, 13])
def test_an_answer_that_ends_anywhere_is_made_whole(stores: Stores, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """The server ends its answers at the number of points that it is told: within a run, between two, or at the end."""
    monkeypatch.setattr(module, "POINTS_OF_ANSWER", most)
    assert without_nan(curves(stores.server, stores.ids, [X, Y])) == without_nan(CURVES)


@pytest.mark.parametrize("address", ["/ajax-api/2.0/mlflow/metrics/missing", "/", "/version"])
def test_a_server_that_answers_for_one_curve_only(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """404, a page, a text."""
    monkeypatch.setattr(module, "BULK", address)
    assert without_nan(curves(stores.server, stores.ids, [X, Y])) == without_nan(CURVES)
    some: dict[str, Curves] = {name: {} for name in stores.ids} | {
        "odd": {X: [(20, -math.inf), (40, 7.0)]},
        "both": {X: [(20, -0.25)]},
        "last": {X: [(20, 8.0)]},
    }
    assert curves(stores.server, stores.ids, [X, "curve/unknown"], [40, 20]) == some


def test_more_runs_and_points_than_the_server_s_limits(stores: Stores) -> None:
    """100 runs and 25,000 points in an answer: one curve alone is longer, and so are those of 100 runs together."""
    long, wide = "curve/long", "curve/wide"
    sizes = {long: [*range(60), 26_000], wide: [300] * 120}
    client = stores.database.client
    runs = [client.create_run(stores.database.experiment_id).info.run_id for _ in range(120)]
    random = np.random.default_rng(0)
    rows = [
        {"run_uuid": run_id, "key": metric, "step": step, "value": float(random.normal()), "timestamp": 7}
        | {"is_nan": step % 50 == 3}
        for metric, numbers in sizes.items()
        for run_id, number in zip(runs, numbers, strict=False)
        for step in range(number)
    ]
    with client._tracking_client.store.engine.begin() as connection:
        connection.execute(insert(SqlMetric), rows)
    ours, theirs = (store.histories(runs, [long, wide]) for store in (stores.database, stores.server))
    for metric, numbers in sizes.items():
        assert [len(ours[run_id].get(metric, ())) for run_id in runs] == numbers + [0] * (len(runs) - len(numbers))
    assert list(ours) == list(theirs) == runs
    for run_id in runs:
        assert ours[run_id].keys() == theirs[run_id].keys()
        for metric, table in ours[run_id].items():
            np.testing.assert_array_equal(table, theirs[run_id][metric])


@pytest.fixture(params=["database", "server", "server's own artifacts"])
def with_files(request: pytest.FixtureRequest, stores: Stores) -> tuple[Store, Run]:
    """Return a store and a run that has artifacts: in files, or behind the server."""
    store = stores.database if request.param == "database" else stores.server
    experiment = store.experiment_id
    if request.param == "server's own artifacts":
        experiment = store.client.create_experiment("own", artifact_location="mlflow-artifacts:/own")
    tags = {"project": "gan-benchmark", "mlflow.runName": "files"}
    run_id = store.client.create_run(experiment, tags=tags).info.run_id
    for path in ("images/b.txt", "images/a.txt", "images/deep/c.txt", "top.txt"):
        store.client.log_text(run_id, f"in {path}\n", path)
    return store, store.get(run_id)


def test_artifacts(with_files: tuple[Store, Run]) -> None:
    store, run = with_files
    assert store.artifacts(run, "images") == ["images/a.txt", "images/b.txt"]
    assert store.artifacts(run, "images/deep") == ["images/deep/c.txt"]
    assert store.artifacts(run, "missing") == []
    assert store.read_artifact(run, "images/deep/c.txt") == b"in images/deep/c.txt\n"
    assert store.read_artifact(run, "top.txt") == b"in top.txt\n"
    assert store.read_artifact(run, "missing.txt") is None
    assert store.read_artifact(run, "missing/a.txt") is None
    assert store.read_artifact(run, "images") is None  # a folder


def trained(store: Store, name: str, folder: Path) -> str:
    """Store a run with two models, one of which is called `generator`; return its id."""
    with store.open_run(name=name, tags={"stage": Stage.TRAIN}) as run:
        for model in (MODEL, "sampler"):
            made = store.client.create_logged_model(store.experiment_id, model, run.run_id)
            files = folder / f"{name}-{model}"
            files.mkdir()
            (files / "weights.txt").write_text(f"{model} of {name}")
            store.client.log_model_artifacts(made.model_id, str(files))
            store.client.finalize_logged_model(made.model_id, "READY")
    return run.run_id


def loaded(uri: str) -> str:
    """Return what is in the file of a model."""
    return Path(mlflow.artifacts.download_artifacts(f"{uri}/weights.txt")).read_text()


def versions(store: Store, name: str) -> dict[int, str | None]:
    """Return the runs of a registered model's versions."""
    return {int(each.version): each.run_id for each in store.client.search_model_versions(f"name='{name}'")}


def test_the_champion_is_registered_once_and_the_alias_moves(store: Store, tmp_path: Path) -> None:
    name = f"gan-{tmp_path.name}"
    first, second = trained(store, "first", tmp_path), trained(store, "second", tmp_path)

    def call(run_id: str, words: str, **tags: str) -> str:
        found = register(
            store.client,
            name=name,
            run_id=run_id,
            experiment_id=store.experiment_id,
            description=words,
            tags=tags,
        )
        assert (found.name, found.uri) == (name, f"models:/{name}@{ALIAS}")
        champion = store.client.get_model_version_by_alias(name, ALIAS)
        assert (str(champion.version), champion.run_id) == (found.version, run_id)
        assert (champion.description, champion.tags) == (words, tags)
        return found.version

    assert call(first, "the first", protocol="p", fid="12.5") == "1"
    assert versions(store, name) == {1: first}
    assert loaded(f"models:/{name}@{ALIAS}") == "generator of first"

    assert call(first, "the first again", protocol="q", fid="11.5") == "1"
    assert versions(store, name) == {1: first}

    assert call(second, "the second") == "2"
    assert versions(store, name) == {1: first, 2: second}
    assert loaded(f"models:/{name}@{ALIAS}") == "generator of second"

    assert call(first, "the first once more", protocol="q", fid="11.5") == "1"
    assert versions(store, name) == {1: first, 2: second}


def test_a_run_without_a_model_is_an_error_that_leaves_nothing(store: Store, stores: Stores, tmp_path: Path) -> None:
    name = f"gan-{tmp_path.name}"
    with pytest.raises(UserError, match=rf"run {stores.ids['both']}: its model 'generator' is not in the store"):
        register(
            store.client,
            name=name,
            run_id=stores.ids["both"],
            experiment_id=store.experiment_id,
            description="",
            tags={},
        )
    with pytest.raises(MlflowException, match="not found"):
        store.client.get_registered_model(name)
