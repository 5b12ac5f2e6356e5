"""The model registry of the tracking store."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from gan.errors import UserError

ALIAS = "champion"
MODEL = "generator"  # name of the logged model, as `log_models` has it


@dataclass(frozen=True)
class Registered:
    """A version of a registered model that bears the alias."""

    name: str
    version: str

    @property
    def uri(self) -> str:
        """What mlflow.pytorch.load_model takes."""
        return f"models:/{self.name}@{ALIAS}"


def register(
    client: MlflowClient, *, name: str, run_id: str, experiment_id: str, description: str, tags: Mapping[str, str]
) -> Registered:
    """Give the alias to the version of a run's generator; the version is made where there is none of this run.

    Raises UserError where the run has no generator in the store.
    """
    versions = [each for each in client.search_model_versions(f"name='{name}'") if each.run_id == run_id]
    version = versions[0] if versions else _create(client, name, run_id, experiment_id)
    for key, value in tags.items():
        client.set_model_version_tag(name, version.version, key, value)
    client.update_model_version(name, version.version, description)
    client.set_registered_model_alias(name, ALIAS, version.version)
    return Registered(name, str(version.version))


def _create(client: MlflowClient, name: str, run_id: str, experiment_id: str):  # type: ignore[no-untyped-def]
    found = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}' AND name = '{MODEL}'")
    if not found:
        raise UserError(f"run {run_id}: its model '{MODEL}' is not in the store. Train it again and register then.")
    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name)
    return client.create_model_version(name, found[0].model_uri, run_id, model_id=found[0].model_id)
