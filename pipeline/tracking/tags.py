"""Tags of many runs at once: MLflow's own interface writes those of one run at a time."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.validation import _validate_tag
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.tracking.failures import shown, store_errors

Insert = sqlite.Insert | postgresql.Insert
INSERTS: Mapping[str, Callable[..., Insert]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""By the kind of a database: those that replace what is there."""

REQUESTS_AT_ONCE = 4  # `mlflow server` has as many workers


def set_tags_of_runs(client: MlflowClient, tags: Mapping[str, Mapping[str, str]]) -> None:
    """Set tags, by the run's id: all or none in a database, a few runs at the same time at a server.

    Raises UserError where the store cannot be used.
    """
    rows = [(run_id, key, value) for run_id in sorted(tags) for key, value in tags[run_id].items()]
    store = client._tracking_client.store
    with store_errors(shown(client.tracking_uri)):
        if isinstance(store, SqlAlchemyStore) and store.engine.dialect.name in INSERTS:
            _write_database(store, rows)
        else:
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                list(pool.map(lambda row: client.set_tag(*row), rows))


def _write_database(store: SqlAlchemyStore, rows: Sequence[tuple[str, str, str]]) -> None:
    """Write into MLflow's table of tags: what is too long is cut as MLflow does it.

    rows: run, key and value, in one order in all processes, so that no two wait for each other for ever.
    """
    valid = [(run_id, _validate_tag(key, value)) for run_id, key, value in rows]  # type: ignore[no-untyped-call]
    values = [{"run_uuid": run_id, "key": tag.key, "value": tag.value} for run_id, tag in valid]
    insert = INSERTS[store.engine.dialect.name](SqlTag)
    upsert = insert.on_conflict_do_update(index_elements=["key", "run_uuid"], set_={"value": insert.excluded.value})
    if values:
        with store.ManagedSessionMaker(read_only=False) as session:
            session.execute(upsert, values)
