"""Results without a store."""

from collections.abc import Mapping

from pipeline.reporting.labels import label
from pipeline.reporting.results import Configuration, Measured, Results, Training
from pipeline.reporting.tables import Table, build_tables
from pipeline.tracking import Run

PROTOCOL = {"dataset": "faces", "dataset_digest": "d", "num_samples": 100, "num_reference": 100, "extractor": "X"}


def run(run_id: str = "r", status: str = "FINISHED", start_time: int = 0, **tags: str) -> Run:
    return Run(run_id, "1", f"run-{run_id}", status, {"dataset_digest": "d", **tags}, {}, {}, start_time)


def measured(metrics: Mapping[str, float], num_measured: int = 100, protocol_hash: str = "p") -> Measured:
    return Measured(protocol_hash, PROTOCOL, num_measured, dict(metrics))


def configuration(variant: str, *values: float, metric: str = "fid", config_hash: str = "h") -> Configuration:
    """A configuration with one finished and measured training for each value."""
    trainings = [
        Training(run(f"{variant}{seed}", seed=str(seed)), {"p": measured({metric: value})})
        for seed, value in enumerate(values)
    ]
    return Configuration(variant, config_hash, trainings or [Training(run(variant, seed="0"), {})])


def labelled(variant: str, config_hash: str, overrides: str = "", **params: str) -> Configuration:
    """A configuration that differs from others in what labels are made of."""
    one = run(config_hash, overrides=overrides)
    logged = {f"gan.{key}": value for key, value in params.items()}
    return Configuration(
        variant,
        config_hash,
        [Training(Run(one.run_id, "1", one.name, one.status, one.tags, logged, {}, 0), {})],
    )


def tables(*configurations: Configuration, floor: Measured | None = None) -> tuple[Table, ...]:
    results = Results(configurations, {"p": floor} if floor else {}, ())
    return build_tables(results, label(configurations))
