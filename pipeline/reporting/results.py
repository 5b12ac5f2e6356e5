"""What a report is made of: trainings by configuration, their measurements, and the floors."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.environments import Environment, environments_in, name_of
from pipeline.identity import flatten, write_value
from pipeline.reporting.curves import Curve, Trajectory
from pipeline.tracking import ENVIRONMENTS, Run

FINISHED = "FINISHED"
DIVERGED = "diverged"
AT_BEST = " at best"

log = logging.getLogger(__name__)


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
    """A run of the train stage with its measurements, by protocol hash; only a finished run has any that count.

    curves: by metric, those that the report is made of.
    """

    run: Run
    measured: Mapping[str, Measured]
    curves: Mapping[str, Curve] = field(default_factory=dict)

    @property
    def seed(self) -> str:
        """The training seed."""
        return clean(self.run.tags.get("seed", "?"))

    @property
    def selection(self) -> str:
        """Hash of the protocol of the measurements during training, "" where there were none."""
        return clean(self.run.tags.get("selection", ""))

    @property
    def trajectory(self) -> Trajectory:
        """The curves and what a step costs."""
        metrics = self.run.metrics
        steps, updates = (metrics.get(f"cost/{name}") for name in ("discriminator_updates", "generator_updates"))
        images = metrics.get("cost/total_images")
        return Trajectory(
            self.seed,
            self.curves,
            discriminator_steps=max(1, round(steps / updates)) if steps and updates else 1,
            batch_size=images / steps if steps and images else 1.0,
        )

    @property
    def environments(self) -> Sequence[Environment]:
        """Where it was trained, the last place last; none where that was not stored."""
        found = environments_in(self.run.tags.get(ENVIRONMENTS, ""))
        return [{clean(key): clean(value) for key, value in each.items()} for each in found]

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

    config_hash: of configuration, images and code. config: the resolved configuration, of which that is the hash.
    """

    variant: str
    config_hash: str
    trainings: Sequence[Training]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> Mapping[str, str]:
        """All fields of the configuration by dotted name as `--set` reads them, the dataset and a hash of the code."""
        written = {name: clean(write_value(value)) for name, value in flatten(self.config).items() if name != "title"}
        code = clean(self.trainings[0].run.tags.get("code_hash", ""))[:8]
        return written | {"dataset": self.dataset, "code": code}

    @property
    def overridden(self) -> Mapping[str, Any]:
        """Values of the fields in which the configuration differs from its variant's file."""
        values = flatten(self.config)
        return {name: values[name] for name in self.trainings[0].run.tags.get("changed", "").split() if name in values}

    @property
    def dataset(self) -> str:
        """Name of the images."""
        return clean(self.trainings[0].run.tags.get("dataset", ""))

    @property
    def dataset_digest(self) -> str:
        """Digest of the images."""
        return self.trainings[0].run.tags.get("dataset_digest", "")

    def is_measured(self, protocol_hash: str) -> bool:
        """Whether a training has a measurement of this protocol."""
        return any(protocol_hash in training.measured for training in self.trainings)


@dataclass(frozen=True)
class Results:
    """All that a report is made of but for the curves and pictures.

    floors: measurements of real images, by protocol hash. corrupted: those of real images that were made worse, in
    what way by protocol hash. duplicates: runs that do not count, each with the id of the
    run of the same fingerprint that does. refused: runs that cannot be trusted, and why.
    """

    configurations: Sequence[Configuration]
    floors: Mapping[str, Measured]
    duplicates: Sequence[tuple[Run, str]]
    corrupted: Mapping[str, Mapping[str, Measured]] = field(default_factory=dict)
    refused: Sequence[tuple[Run, str]] = ()

    @property
    def protocols(self) -> Mapping[str, Mapping[str, Any]]:
        """Every protocol that something was measured under, by hash."""
        trainings = [training for each in self.configurations for training in each.trainings]
        measured = [m for training in trainings for m in training.measured.values()] + list(self.floors.values())
        return {m.protocol_hash: m.protocol for m in measured}

    @property
    def environments(self) -> Mapping[str, "Place"]:
        """Where the trainings that count were computed, by a short name, the first used first."""
        places: dict[str, tuple[Environment, list[Run]]] = {}
        for training in (training for each in self.configurations for training in each.trainings):
            for environment in training.environments:
                _, runs = places.setdefault(name_of(environment), (environment, []))
                runs.append(training.run)
        return {name: Place(environment, runs) for name, (environment, runs) in places.items()}


@dataclass(frozen=True)
class Place:
    """An environment and the runs that were trained in it."""

    environment: Environment
    runs: Sequence[Run]


def clean(text: str) -> str:
    """Return a text of the store as one line without control characters."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())
