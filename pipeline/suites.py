"""The runs of a suite, found in the tracking store by what they were trained with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gan.errors import UserError
from gan.schema import PRECISIONS
from pipeline.config import load_experiment, load_suite, overrides_of
from pipeline.reporting.results import DIVERGED, FINISHED
from pipeline.reporting.suites import Suite
from pipeline.tracking import CONFIG, Run, Stage, Store
from pipeline.tracking.failures import shown


def find_suite(suite: str, store: Store, data: str | None = None) -> Suite:
    """Find the trainings of a suite, of several alike the newest that is finished, else that diverged, else the newest.

    data: a dataset's name, instead of the suite's own. A training belongs to a suite by its configuration and seed; the
    number format of a suite that leaves it to the device may be any. Raises UserError where there is none.
    """
    config = load_suite(suite)
    dataset = data or config.dataset.name
    runs = store.find({"stage": Stage.TRAIN, "dataset": dataset})
    found: dict[str, str] = {}
    missing: dict[str, None] = {}  # a set in order
    for seed in config.seeds:
        for cell in config.cells:
            name = cell.variant + "".join(f" {key}={value}" for key, value in cell.set.items()) + f" of seed {seed}"
            wanted = load_experiment(cell.variant, overrides_of(config, cell)).to_dict()
            alike = [run for run in runs if run.tags.get("seed") == str(seed) and _is_of(run, wanted)]
            finished = [run for run in alike if run.status == FINISHED]
            diverged = [run for run in alike if run.tags.get("health") == DIVERGED]
            if alike:
                found[name] = (finished or diverged or alike)[-1].run_id
            if not finished and not diverged:  # what diverged would do so again
                missing[name] = None
    if not found:
        raise UserError(
            f"--suite {suite}: {shown(store.uri)} has no training of it on '{dataset}'. Run it: pipeline run {suite}"
            f"{f' --data {data}' if data else ''}, or name the dataset that it ran on with --data."
        )
    formats = {str(json.loads(run.tags[CONFIG]).get("precision")) for run in runs if run.run_id in found.values()}
    return Suite(
        suite,
        config.title,
        dataset,
        list(found.values()),
        list(missing),
        len({*found, *missing}),
        Path(config.claims) if config.claims else None,
        next(iter(formats)) if len(formats) == 1 and formats <= {*PRECISIONS} else None,
    )


def _is_of(run: Run, wanted: Mapping[str, Any]) -> bool:
    """Tell whether a run was trained with a configuration."""
    try:
        config = json.loads(run.tags.get(CONFIG, ""))
    except (ValueError, RecursionError):
        return False
    return isinstance(config, dict) and _comparable(config, wanted) == _comparable(wanted, wanted)


def _comparable(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    ignored = {"title"} | ({"precision"} if wanted["precision"] == "auto" else set())
    return json.dumps({key: value for key, value in config.items() if key not in ignored}, sort_keys=True)
