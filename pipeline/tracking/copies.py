"""Runs as plain data, and back: what takes them from one tracking store to another."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from pydantic import Field
from pydantic.dataclasses import dataclass

from gan.schema import STRICT
from pipeline.tracking.failures import shown, store_errors
from pipeline.tracking.handover import FREE, OWNER
from pipeline.tracking.runs import COLOUR, DESCRIPTION, PROJECT, Run, Stage
from pipeline.tracking.store import RUN_ID, Store

ORIGIN = "mlflow.gan.origin"  # tag of a copied run: its id in the store where it was trained
WHOLE = "mlflow.gan.origin_digest"  # tag: of the copy that is here as a whole
BATCH = 1000  # points a request, MLflow's maximum
TAGS_OF_BATCH = 100
# Of MLflow's own tags the others say who ran what from which file of which machine.
_OF_MLFLOW = ("mlflow.gan.", "mlflow.runName", "mlflow.loggedImages", "mlflow.source.git.commit")
_MADE_AGAIN = (COLOUR, DESCRIPTION)  # by the report

Item = TypeVar("Item")
Text = Annotated[str, Field(max_length=100_000)]
Key = Annotated[str, Field(min_length=1, max_length=250)]
Milliseconds = Annotated[int, Field(ge=0, le=10**14)]
Point = tuple[Annotated[int, Field(ge=0, le=10**12)], Milliseconds, float | None]
"""Step, time since 1970 and value; None is NaN."""


@dataclass(frozen=True, config=STRICT)
class Copy:
    """All that a store holds of a run that ended, but for its files.

    run_id: of the store where it was trained. metrics: every point by name, in the order of step and time.
    """

    run_id: Annotated[str, Field(pattern=f"^{RUN_ID.pattern}$")]
    name: Key
    status: Literal["FINISHED", "FAILED", "KILLED"]
    start_time: Milliseconds
    end_time: Milliseconds
    tags: dict[Key, Text]
    params: dict[Key, Text]
    metrics: dict[Key, list[Point]]


def origin_of(run: Run) -> str:
    """Return the id that a run has where it was trained."""
    return run.tags.get(ORIGIN, run.run_id)


def read_copy(store: Store, run: Run, *, without_tags: Collection[str] = ()) -> Copy:
    """Read a run of a store; one that did not end counts as stopped. without_tags: what holds on this machine alone.

    Raises UserError where the store cannot be used.
    """
    with store_errors(shown(store.uri)):
        info = store.client.get_run(run.run_id).info
        points = {key: store.client.get_metric_history(run.run_id, key) for key in sorted(run.metrics)}
    left_out = {*_MADE_AGAIN, ORIGIN, WHOLE, *without_tags}
    tags = {key: value for key, value in sorted(run.tags.items()) if key not in left_out and _is_kept(key)}
    return Copy(
        run_id=origin_of(run),
        name=run.name,
        status=run.status if run.status in ("FINISHED", "FAILED") else "KILLED",  # type: ignore[arg-type]
        start_time=run.start_time,
        end_time=max(info.end_time or 0, run.start_time),
        tags=tags | ({OWNER: FREE} if OWNER in tags else {}),
        params=dict(sorted(run.params.items())),
        metrics={key: sorted(map(_point, of_key), key=lambda point: point[:2]) for key, of_key in points.items()},
    )


def copied_runs(store: Store) -> dict[str, Run]:
    """Return this project's runs by the id that they have where they were trained."""
    return {origin_of(run): run for run in store.find({})}


def write_copy(
    store: Store, copy: Copy, earlier: Run | None, *, files: Path, digest: str, put: Callable[[str], None]
) -> None:
    """Write a run with the files of a folder into a store, or bring the copy that is there up to date.

    What is in the copy that is there and not in this one stays. digest: of all that is copied. put: is given the run's
    id, and puts in place what does not belong into the store. Only then does the run count: one whose copying was
    stopped is gone on with by the next call, and one that the store does not take is removed. Raises UserError where
    the store cannot be used.
    """
    client = store.client
    with store_errors(shown(store.uri)):
        if earlier is None:
            begun = {"project": PROJECT, ORIGIN: copy.run_id}
            run_id = str(client.create_run(store.experiment_id, copy.start_time, begun, copy.name).info.run_id)
        else:
            run_id = earlier.run_id
        try:
            for points in _groups(_metrics(copy), BATCH):
                client.log_batch(run_id, metrics=points)
            for params in _groups([Param(key, value) for key, value in copy.params.items()], TAGS_OF_BATCH):
                client.log_batch(run_id, params=params)
            client.log_artifacts(run_id, str(files))
            put(run_id)
            if digest_of_images := copy.tags.get("dataset_digest"):
                name = copy.tags.get("dataset", digest_of_images)
                client.log_inputs(run_id, [DatasetInput(Dataset(name, digest_of_images[:12], "code", "{}"))])
            for tags in _groups([RunTag(key, value) for key, value in copy.tags.items()], TAGS_OF_BATCH):
                client.log_batch(run_id, tags=tags)
            client.set_terminated(run_id, copy.status, copy.end_time)
            client.set_tag(run_id, WHOLE, digest)
        except MlflowException:
            if earlier is None:
                client.delete_run(run_id)
            raise


def is_copy_of(run: Run | None, digest: str) -> bool:
    """Return whether a store has a copy already, as a whole."""
    return run is not None and run.tags.get(WHOLE) == digest


def is_of_this_project(copy: Copy) -> bool:
    """Return whether a copy is of a training or of measured real images, by its tags."""
    return copy.tags.get("project") == PROJECT and copy.tags.get("stage") in (Stage.TRAIN, Stage.REAL)


def _is_kept(key: str) -> bool:
    return key.startswith(_OF_MLFLOW) if key.startswith("mlflow.") else True


def _point(metric: Metric) -> Point:
    return metric.step, metric.timestamp, None if math.isnan(metric.value) else metric.value


def _metrics(copy: Copy) -> Iterator[Metric]:
    for key, points in copy.metrics.items():
        for step, timestamp, value in points:
            yield Metric(key, math.nan if value is None else value, timestamp, step)


def _groups(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
