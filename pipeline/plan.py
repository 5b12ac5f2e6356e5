"""What is to be trained: everything that decides the result of a training, and what its run is tagged with."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

import gan
from gan.config import Config
from gan.devices import describe
from gan.precision import resolve_precision
from pipeline.config import load_experiment
from pipeline.data.dataset import Dataset
from pipeline.identity import changed_fields, config_hash_of, hash_of
from pipeline.tracking import CONFIG, Stage


@dataclass(frozen=True)
class Plan:
    """A training before it begins. base: the configuration of the variant's file alone."""

    base: Config
    config: Config
    dataset: Dataset
    seed: int
    device: torch.device
    overrides: Sequence[str]
    code_hash: str

    @cached_property
    def config_hash(self) -> str:
        """Of all that decides the result but the seed; runs of one row of a table share it."""
        return config_hash_of(self.config.to_dict(), self.dataset.digest, self.code_hash)

    @property
    def fingerprint(self) -> str:
        """Of all that decides the result: an interrupted run with the same one is gone on with."""
        return hash_of([self.config_hash, self.seed])

    @property
    def tags(self) -> dict[str, str]:
        """The run's, as it begins."""
        config = self.config.to_dict()
        return {
            "stage": Stage.TRAIN,
            "variant": self.config.variant,
            "seed": str(self.seed),
            "fingerprint": self.fingerprint,
            "config_hash": self.config_hash,
            "code_hash": self.code_hash,
            CONFIG: json.dumps(config, sort_keys=True),
            "changed": " ".join(changed_fields(config, self.base.to_dict())),
            "dataset": self.dataset.name,
            "dataset_digest": self.dataset.digest,
            "num_images": str(len(self.dataset.images)),
            "overrides": " ".join(self.overrides),
            "device": describe(self.device),
            "health": "",
        }


def resolved(variant: str, overrides: Sequence[str], device: torch.device) -> Config:
    """Return a configuration in which nothing is left to the device."""
    config = load_experiment(variant, overrides)
    return replace(config, precision=resolve_precision(config.precision, device))


def own_code_hash() -> str:
    """Return a hash of the sources that decide a training: those of the package gan."""
    code = hashlib.sha256()
    for path in sorted(Path(gan.__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()
