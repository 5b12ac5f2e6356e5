"""What the tracking store says: trainings by configuration, their measurements, and the floors."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gan.errors import UserError
from pipeline.tracking import EVALUATION, Run, Stage, Store

FINISHED = "FINISHED"
DIVERGED = "diverged"
BEST_PREFIX = "best_"
AT_BEST = " at best"


@dataclass(frozen=True)
class Measured:
    """The metrics of one run under one protocol, those of its best generator with the prefix BEST_PREFIX.

    num_measured: images, fewer than the protocol's num_samples where real images ran out. sampling_spread,
    estimator_error: uncertainties of the metrics, where they are known. flags: what a reader has to know.
    """

    protocol_hash: str
    protocol: Mapping[str, Any]
    num_measured: int
    metrics: Mapping[str, float]
    sampling_spread: Mapping[str, float] = field(default_factory=dict)
    estimator_error: Mapping[str, float] = field(default_factory=dict)
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class Training:
    """A run of the train stage with its measurements, by protocol hash; only a finished run has any that count."""

    run: Run
    measured: Mapping[str, Measured]

    @property
    def seed(self) -> str:
        """The training seed."""
        return clean(self.run.tags.get("seed", "?"))

    @property
    def is_finished(self) -> bool:
        """Whether there is a generator to measure."""
        return self.run.status == FINISHED

    @property
    def state(self) -> str:
        """What the watch on the run's health says (diverged, low diversity, ...), if anything, else its status."""
        return clean(self.run.tags.get("health", "")) or self.run.status.lower()


@dataclass(frozen=True)
class Configuration:
    """Trainings that differ in nothing but the seed, by seed: one row of a table.

    config_hash: of configuration, images and code. A run without that tag stands alone, under its fingerprint.
    """

    variant: str
    config_hash: str
    trainings: Sequence[Training]

    @property
    def overrides(self) -> str:
        """What was set beside the variant's file, as on the command line."""
        return clean(self.trainings[0].run.tags.get("overrides", ""))

    @property
    def params(self) -> Mapping[str, str]:
        """The logged parameters."""
        return self.trainings[0].run.params

    @property
    def dataset_digest(self) -> str:
        """Digest of the images."""
        return self.trainings[0].run.tags.get("dataset_digest", "")

    def is_measured(self, protocol_hash: str) -> bool:
        """Whether a training has a measurement of this protocol."""
        return any(protocol_hash in training.measured for training in self.trainings)


@dataclass(frozen=True)
class Results:
    """All that a report is made of.

    floors: measurements of real images, by protocol hash. corrupted: those of real images that were made worse, in
    what way by protocol hash. duplicates: runs that do not count, each with the id of the
    run of the same fingerprint that does.
    """

    configurations: Sequence[Configuration]
    floors: Mapping[str, Measured]
    duplicates: Sequence[tuple[Run, str]]
    corrupted: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)

    @property
    def protocols(self) -> Mapping[str, Mapping[str, Any]]:
        """Every protocol that something was measured under, by hash."""
        trainings = [training for each in self.configurations for training in each.trainings]
        measured = [m for training in trainings for m in training.measured.values()] + list(self.floors.values())
        return {m.protocol_hash: m.protocol for m in measured}


def read_results(store: Store, run_ids: Sequence[str] = ()) -> Results:
    """Read all trainings, or those of `run_ids` and the floors of their protocols.

    Raises UserError where there is no training, an id is no training's, or a measurement cannot be read.
    """
    runs = [_training_run(store, run_id) for run_id in run_ids] or store.find({"stage": Stage.TRAIN})
    if not runs:
        raise UserError(
            f"There is no training in {store.uri} to report on. Train something first: "
            "`pipeline train --variant dcgan` or `make demo`. MLFLOW_TRACKING_URI selects another store."
        )
    counted, duplicates = _without_duplicates(runs)
    configurations = _grouped(Training(run, _measured(run) if run.status == FINISHED else {}) for run in counted)
    floors: dict[str, Measured] = {}
    corrupted: dict[str, dict[str, Measured]] = {}
    for run in _by_age(store.find({"stage": Stage.REAL})):
        corruption = run.tags.get("images", "real")
        for key, each in _measured(run).items():  # the oldest one counts
            if corruption == "real":
                floors.setdefault(key, each)
            else:
                corrupted.setdefault(key, {}).setdefault(clean(run.tags.get("images_title") or corruption), each)
    if run_ids:
        wanted = {key for key in {*floors, *corrupted} if any(each.is_measured(key) for each in configurations)}
        floors = {key: floors[key] for key in wanted if key in floors}
        corrupted = {key: corrupted[key] for key in wanted if key in corrupted}
    return Results(configurations, floors, duplicates, corrupted)


def clean(text: str) -> str:
    """Return a text of the store as one line without control characters."""
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(printable.split())


def seed_order(seed: str) -> tuple[int, str]:
    """Sort key that puts 2 before 10."""
    return (int(seed) if seed.isdecimal() else -1, seed)


def _training_run(store: Store, run_id: str) -> Run:
    run = store.get(run_id)
    if run.tags.get("stage") != Stage.TRAIN:
        raise UserError(f"--run: '{run_id}' ({clean(run.name)}) is not a training run. `mlflow ui` lists them.")
    return run


def _by_age(runs: Iterable[Run]) -> list[Run]:
    """Sort oldest first; the same run given twice is one."""
    return sorted({run.run_id: run for run in runs}.values(), key=lambda run: (run.start_time, run.run_id))


def _without_duplicates(runs: Iterable[Run]) -> tuple[list[Run], list[tuple[Run, str]]]:
    """Keep one run of each fingerprint: the oldest finished one, else the newest that diverged, else the newest."""
    same: dict[str, list[Run]] = {}
    for run in _by_age(runs):
        same.setdefault(run.tags.get("fingerprint") or run.run_id, []).append(run)
    counted, duplicates = [], []
    for group in same.values():
        finished = [run for run in group if run.status == FINISHED]
        diverged = [run for run in group if run.tags.get("health") == DIVERGED]
        kept = (finished or diverged[-1:] or group[-1:])[0]
        counted.append(kept)
        duplicates += [(run, kept.run_id) for run in group if run is not kept]
    return counted, duplicates


def _grouped(trainings: Iterable[Training]) -> list[Configuration]:
    groups: dict[tuple[str, str], list[Training]] = {}
    for training in trainings:
        tags = training.run.tags
        config_hash = tags.get("config_hash") or tags.get("fingerprint") or training.run.run_id
        groups.setdefault((clean(tags.get("variant", "?")), config_hash), []).append(training)
    return [
        Configuration(variant, config_hash, sorted(group, key=lambda each: seed_order(each.seed)))
        for (variant, config_hash), group in sorted(groups.items(), key=lambda item: item[0])
    ]


def _measured(run: Run) -> dict[str, Measured]:
    """Read a run's measurements by protocol hash."""
    results: dict[str, list[Mapping[str, Any]]] = {}
    try:
        for tag in sorted(tag for tag in run.tags if tag.startswith(EVALUATION)):
            content = json.loads(run.tags[tag])
            results.setdefault(str(content["protocol_hash"]), []).append(content)
        return {key: _merged(contents) for key, contents in results.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"run {run.run_id} ({clean(run.name)}): its tag {clean(tag)} is not a result of `pipeline evaluate`. "
            "Delete the tag in `mlflow ui` and evaluate the run again."
        ) from error


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
