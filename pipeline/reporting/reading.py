"""Reading the tracking store: trainings whose labels are those of their configurations, and what was measured."""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gan.errors import UserError
from pipeline.identity import config_hash_of
from pipeline.metrics.names import BEST_PREFIX
from pipeline.reporting.results import AT_BEST, DIVERGED, FINISHED, Configuration, Measured, Results, Training, clean
from pipeline.tracking import CONFIG, EVALUATION, Run, Stage, Store
from pipeline.tracking.failures import shown

PROTOCOL_HASH = re.compile(r"[0-9A-Za-z]{1,64}")
MOST_GROUPS = 200  # of values within values: ours have about ten

log = logging.getLogger(__name__)


def read_results(store: Store, run_ids: Sequence[str] = ()) -> Results:
    """Read all trainings, or those of `run_ids` and the floors of their protocols.

    A run whose label is not that of its configuration, or whose numbers cannot be read, is refused: it stands in no
    table. Raises UserError where there is no training, where an id is no training's or that of a refused one.
    """
    runs = [_training_run(store, run_id) for run_id in run_ids] or store.find({"stage": Stage.TRAIN})
    if not runs:
        raise UserError(
            f"There is no training in {shown(store.uri)} to report on. Train something first: "
            "`pipeline train --variant dcgan` or `make demo`. MLFLOW_TRACKING_URI selects another store."
        )
    read = [(run, _read(run)) for run in _by_age(runs)]
    refused = [(run, training) for run, training in read if isinstance(training, str)]
    if run_ids and refused:
        run, why = refused[0]
        raise UserError(f"--run: {run.run_id} ({clean(run.name)}): {why} Train it again.")
    counted, duplicates = _without_duplicates([each for _, each in read if isinstance(each, Training)])
    configurations = _grouped(counted)
    floors, corrupted = _read_real(store)
    if run_ids:
        wanted = {key for key in {*floors, *corrupted} if any(each.is_measured(key) for each in configurations)}
        floors = {key: floors[key] for key in wanted if key in floors}
        corrupted = {key: corrupted[key] for key in wanted if key in corrupted}
    return Results(configurations, floors, duplicates, corrupted, refused)


def _read(run: Run) -> Training | str:
    """Return a training that can be trusted, or why it cannot."""
    try:
        _check_label(run)
        return Training(run, measured_of(run) if run.status == FINISHED else {})
    except ValueError as error:
        return str(error)


def _check_label(run: Run) -> None:
    """Raise ValueError where what a run is called is not what it was trained with."""
    tags = run.tags
    if CONFIG not in tags or "code_hash" not in tags:
        raise ValueError("it was trained by an older version, which did not store what labels are made from.")
    try:
        config = _shallow_json(tags[CONFIG])
        variant = config["variant"]
        found = config_hash_of(config, tags["dataset_digest"], tags["code_hash"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"its tag {CONFIG} is not a configuration.") from None
    if variant != tags.get("variant"):
        raise ValueError(f"it is called {clean(tags.get('variant', '?'))}, its configuration {clean(str(variant))}.")
    if found != tags.get("config_hash"):
        raise ValueError("its configuration does not have the hash that its label stands for.")


def _read_real(store: Store) -> tuple[dict[str, Measured], dict[str, dict[str, Measured]]]:
    """Return the measurements of real images, and of those that were made worse, by protocol hash; the oldest count."""
    floors: dict[str, Measured] = {}
    corrupted: dict[str, dict[str, Measured]] = {}
    for run in _by_age(store.find({"stage": Stage.REAL})):
        corruption = run.tags.get("images", "real")
        try:
            measured = measured_of(run)
        except ValueError as error:
            log.warning("run %s (%s) is left out: %s", run.run_id, clean(run.name), error)
            continue
        for key, each in measured.items():
            if corruption == "real":
                floors.setdefault(key, each)
            else:
                title = clean(run.tags.get("images_title") or corruption)
                corrupted.setdefault(key, {}).setdefault(title, each)
    return floors, corrupted


def _training_run(store: Store, run_id: str) -> Run:
    run = store.get(run_id)
    if run.tags.get("stage") != Stage.TRAIN:
        raise UserError(f"--run: '{run_id}' ({clean(run.name)}) is not a training run. `mlflow ui` lists them.")
    return run


def _by_age(runs: Iterable[Run]) -> list[Run]:
    """Sort oldest first; the same run given twice is one."""
    return sorted({run.run_id: run for run in runs}.values(), key=lambda run: (run.start_time, run.run_id))


def _without_duplicates(trainings: Sequence[Training]) -> tuple[list[Training], list[tuple[Run, str]]]:
    """Keep one run of each fingerprint: the oldest finished one, else the newest that diverged, else the newest.

    trainings: oldest first.
    """
    same: dict[str, list[Training]] = {}
    for training in trainings:
        same.setdefault(training.run.tags.get("fingerprint") or training.run.run_id, []).append(training)
    counted, duplicates = [], []
    for group in same.values():
        finished = [each for each in group if each.is_finished]
        diverged = [each for each in group if each.run.tags.get("health") == DIVERGED]
        kept = (finished or diverged[-1:] or group[-1:])[0]
        counted.append(kept)
        duplicates += [(each.run, kept.run.run_id) for each in group if each is not kept]
    return counted, duplicates


def _grouped(trainings: Iterable[Training]) -> list[Configuration]:
    groups: dict[tuple[str, str], list[Training]] = {}
    for training in trainings:
        tags = training.run.tags
        groups.setdefault((clean(tags["variant"]), tags["config_hash"]), []).append(training)
    return [
        Configuration(
            variant,
            config_hash,
            sorted(group, key=lambda each: seed_order(each.seed)),
            json.loads(group[0].run.tags[CONFIG]),
        )
        for (variant, config_hash), group in sorted(groups.items(), key=lambda item: item[0])
    ]


def measured_of(run: Run) -> dict[str, Measured]:
    """Read a run's measurements by protocol hash. ValueError where one of them is damaged."""
    results: dict[str, list[Mapping[str, Any]]] = {}
    try:
        for tag in sorted(tag for tag in run.tags if tag.startswith(EVALUATION)):
            content = _shallow_json(run.tags[tag])
            results.setdefault(_checked_hash(content["protocol_hash"]), []).append(content)
        return {key: _merged(contents) for key, contents in results.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"its tag {clean(tag)} is not a result of `pipeline evaluate`. Delete the tag in `pipeline ui` and "
            "evaluate the run again."
        ) from error


def _checked_hash(protocol_hash: object) -> str:
    """Return the hash of a protocol, which names of files are made of."""
    if not isinstance(protocol_hash, str) or not PROTOCOL_HASH.fullmatch(protocol_hash):
        raise ValueError(f"the protocol hash {protocol_hash!r} is none")
    return protocol_hash


def _merged(contents: Sequence[Mapping[str, Any]]) -> Measured:
    """Put the results of a run's checkpoints under one protocol together."""
    values: dict[str, dict[str, float]] = {"metrics": {}, "sampling_spread": {}, "estimator_error": {}}
    flags: set[str] = set()
    for content in contents:
        result = content["result"]
        is_best = result["checkpoint"] == "best"
        flags |= {f"{flag}{AT_BEST}" if is_best else str(flag) for flag in result["flags"]}
        for field_name, found in values.items():
            prefix = BEST_PREFIX if is_best else ""
            found |= {f"{prefix}{name}": float(value) for name, value in result[field_name].items()}
    return Measured(
        protocol_hash=str(contents[0]["protocol_hash"]),
        protocol=dict(contents[0]["protocol"]),
        num_measured=int(contents[0]["result"]["num_measured"]),
        flags=sorted(flags - {f"{flag}{AT_BEST}" for flag in flags}),  # said of the last one, it need not be said twice
        **values,
    )


def seed_order(seed: str) -> tuple[int, str]:
    """Sort key that puts 2 before 10."""
    return (int(seed) if seed.isdecimal() and len(seed) < 20 else -1, seed)


def _shallow_json(text: str) -> Any:
    """Return plain data that is not nested so deeply that what walks through it fails. Raises ValueError otherwise."""
    if text.count("[") + text.count("{") > MOST_GROUPS:
        raise ValueError(f"more than {MOST_GROUPS} groups")
    return json.loads(text)
