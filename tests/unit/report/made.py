"""Results without a store."""

import json
from collections.abc import Mapping

from pipeline.identity import config_hash_of
from pipeline.reporting.labels import label
from pipeline.reporting.results import Configuration, Measured, Results, Training
from pipeline.reporting.tables import Table, build_tables
from pipeline.tracking import CONFIG, Run, Stage

PROTOCOL = {"dataset": "faces", "dataset_digest": "d", "num_samples": 100, "num_reference": 100, "extractor": "X"}


def run(run_id: str = "r", status: str = "FINISHED", start_time: int = 0, **tags: str) -> Run:
    return Run(run_id, "1", f"run-{run_id}", status, {"dataset_digest": "d", **tags}, {}, {}, start_time)


def measured(metrics: Mapping[str, float], num_measured: int = 100, protocol_hash: str = "p") -> Measured:
    return Measured(protocol_hash, PROTOCOL, num_measured, dict(metrics))


def honest(variant: str, seed: str = "0", changed: str = "", **config: object) -> dict[str, str]:
    """Tags of a training whose label is that of its configuration."""
    content = {"variant": variant, "title": variant, **config}
    return {
        "stage": Stage.TRAIN,
        "variant": variant,
        "seed": seed,
        CONFIG: json.dumps(content),
        "changed": changed,
        "code_hash": "c" * 64,
        "dataset_digest": "d",
        "config_hash": config_hash_of(content, "d", "c" * 64),
    }


def configuration(variant: str, *values: float, metric: str = "fid", config_hash: str = "h") -> Configuration:
    """A configuration with one finished and measured training for each value."""
    trainings = [
        Training(run(f"{variant}{seed}", seed=str(seed)), {"p": measured({metric: value})})
        for seed, value in enumerate(values)
    ]
    return Configuration(variant, config_hash, trainings or [Training(run(variant, seed="0"), {})])


def labelled(variant: str, config_hash: str, overrides: str = "", **fields: object) -> Configuration:
    """A configuration that differs from others in what labels are made of. overrides: "a=1 b=2" of changed fields."""
    changed = dict(part.split("=") for part in overrides.split())
    one = run(config_hash, changed=" ".join(changed), dataset="faces", code_hash="c" * 64)
    return Configuration(variant, config_hash, [Training(one, {})], {**fields, **changed})


def tables(*configurations: Configuration, floor: Measured | None = None) -> tuple[Table, ...]:
    results = Results(configurations, {"p": floor} if floor else {}, ())
    return build_tables(results, label(configurations))
