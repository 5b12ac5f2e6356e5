"""Tags of many runs at once: in a file, in PostgreSQL, in a database of another kind and through a server."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from mlflow import MlflowClient
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH

from gan.errors import UserError
from pipeline.tracking import connect
from pipeline.tracking import tags as module
from pipeline.tracking.tags import set_tags_of_runs
from tests.servers import mlflow_server, postgres, postgres_installed

pytestmark = pytest.mark.slow
LONG = "x" * (MAX_TAG_VAL_LENGTH + 10)


@pytest.fixture(scope="module", params=["file", "PostgreSQL", "another database", "server"])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    file = f"sqlite:///{folder / 'mlflow.db'}"
    with ExitStack() as stack:
        if request.param == "PostgreSQL":
            if not postgres_installed():
                pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
            yield stack.enter_context(postgres(folder))
        elif request.param == "server":
            yield stack.enter_context(mlflow_server(file, folder)).uri
        else:
            if request.param == "another database":
                stack.enter_context(pytest.MonkeyPatch.context()).setattr(module, "INSERTS", {})
            yield file


def tags_of(client: MlflowClient, run_id: str) -> dict[str, str]:
    """Return the tags of a run but for those that MLflow sets."""
    tags: dict[str, str] = client.get_run(run_id).data.tags
    return {key: value for key, value in tags.items() if key != "mlflow.runName"}


def test_tags_are_added_and_replaced(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store = connect()
    first, second, third = (
        store.client.create_run(store.experiment_id, tags={"kept": "k", "old": "o"}).info.run_id for _ in range(3)
    )
    set_tags_of_runs(store.client, {first: {"old": "a 'quote'", "new": "ä\n|"}, second: {"new": LONG}})
    assert tags_of(store.client, first) == {"kept": "k", "old": "a 'quote'", "new": "ä\n|"}
    assert tags_of(store.client, second) == {"kept": "k", "old": "o", "new": LONG[:MAX_TAG_VAL_LENGTH]}
    assert tags_of(store.client, third) == {"kept": "k", "old": "o"}
    set_tags_of_runs(store.client, {second: {"new": "short", "old": ""}, first: {}})
    assert tags_of(store.client, second) == {"kept": "k", "old": "", "new": "short"}
    set_tags_of_runs(store.client, {})


def test_a_run_that_is_gone_is_an_error(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    store = connect()
    with pytest.raises(UserError, match=r"^The tracking store .* failed: "):
        set_tags_of_runs(store.client, {"0" * 32: {"new": "n"}})
