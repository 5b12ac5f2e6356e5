"""Tables as pandas frames: written cells for people, raw numbers for CSV."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from pipeline.metrics.corruptions import CORRUPTIONS
from pipeline.reporting.labels import Labels
from pipeline.reporting.numbers import (
    NOTHING,
    Estimate,
    decimals_of,
    write_count,
    write_estimate,
    write_seconds,
)
from pipeline.reporting.results import BEST_PREFIX, Configuration, Measured, Results
from pipeline.reporting.tables import COSTS, Metric, Row, Table

REAL = "real images"
Escape = Callable[[str], str]


def written(table: Table, *, escape: Escape, strong: Escape, costs: bool) -> pd.DataFrame:
    """Return the main table as people read it, real images last. strong: marks the values that are best beyond doubt.

    costs: with what the rows cost.
    """
    frame = _written(table, [metric for metric in table.metrics if metric.in_main], escape, strong)
    real = [*(["floor"] if table.floor else []), *("sanity" for _ in table.corrupted)]
    frame["status"] = [*(escape(row.status) for row in table.rows), *real]
    if costs:
        rows = [_written_costs(row, escape) for row in table.rows]
        frame = frame.join(pd.DataFrame(rows))
    return frame.fillna(NOTHING)


def further(table: Table, *, escape: Escape) -> pd.DataFrame | None:
    """Return the metrics that are not in the main table, or None where there are none."""
    metrics = [metric for metric in table.metrics if not metric.in_main]
    return _written(table, metrics, escape, str).fillna(NOTHING) if metrics else None


def uncertainty(table: Table, *, escape: Escape) -> pd.DataFrame:
    """Return three kinds of uncertainty of the main metrics, kept apart: training, sampling, estimator."""
    lines = [
        {
            "variant": escape(row.label),
            "metric": escape(metric.title),
            "mean": _number(row.estimates[metric.name].mean, metric),
            "over training seeds": _number(row.estimates[metric.name].spread, metric),
            "over sampling seeds": _number(row.sampling.get(metric.name), metric),
            "of the estimator": _number(row.errors.get(metric.name), metric),
        }
        for row in table.rows
        for metric in table.metrics
        if metric.in_main and metric.name in row.estimates
    ]
    return pd.DataFrame(lines)


def _written(table: Table, metrics: Sequence[Metric], escape: Escape, strong: Escape) -> pd.DataFrame:
    best = {(verdict.metric.name, verdict.lowest) for verdict in table.verdicts if verdict.is_best}
    decimals = {metric.name: _decimals(metric, table.rows) for metric in metrics}
    lines = []
    for row in table.rows:
        values = {
            escape(metric.title): (strong if (metric.name, row.label) in best else str)(
                _cell(row.estimates.get(metric.name), metric, decimals[metric.name])
            )
            for metric in metrics
        }
        seeds = str(row.num_seeds) if row.num_seeds == row.num_runs else f"{row.num_seeds} of {row.num_runs}"
        lines.append({"variant": escape(row.label), "seeds": seeds} | values)
    if table.floor is not None:
        lines.append(_written_real(table, REAL, table.floor, metrics, decimals, escape))
    lines += [
        _written_real(table, f"{REAL} {_title(key)}", each, metrics, decimals, escape)
        for key, each in sorted(table.corrupted.items(), key=lambda item: _order(item[0]))
    ]
    return pd.DataFrame(lines)


def raw(table: Table) -> pd.DataFrame:
    """Return a table's numbers, unrounded and not scaled; what is missing is empty."""
    lines: list[dict[str, object]] = [
        {"row": row.label, "variant": row.configuration.variant, "config_hash": row.configuration.config_hash}
        | {"num_seeds": row.num_seeds, "num_runs": row.num_runs, "status": row.status}
        | {key: value for metric in table.metrics for key, value in _raw(metric.name, row.estimates).items()}
        | {f"mean_{field}" if field == "seconds" else field: row.costs.get(field) for field in COSTS}
        | {"device": row.device}
        for row in table.rows
    ]
    if table.floor is not None:
        lines.append({"row": REAL, "variant": "real", "status": "floor"} | _raw_real(table, table.floor))
    for key, each in table.corrupted.items():
        row = f"{REAL} {_title(key)}"
        lines.append({"row": row, "variant": "real", "status": "sanity"} | _raw_real(table, each))
    return pd.DataFrame(lines).convert_dtypes()


def raw_runs(table: Table) -> pd.DataFrame:
    """Return every run of a table with all its metrics, also those that are no column, unrounded and not scaled."""
    lines: list[dict[str, object]] = []
    for row in table.rows:
        for training in row.configuration.trainings:
            measured = training.measured.get(table.name)
            lines.append(
                {"row": row.label, "run_id": training.run.run_id, "seed": training.seed, "status": training.state}
                | (_raw_measured(measured) if measured else {})
            )
    if table.floor is not None:
        lines.append({"row": REAL} | _raw_measured(table.floor))
    lines += [{"row": f"{REAL} {_title(key)}"} | _raw_measured(each) for key, each in table.corrupted.items()]
    return pd.DataFrame(lines).convert_dtypes()


def runs(results: Results, labels: Labels, escape: Escape) -> pd.DataFrame:
    """Return all training runs, those that do not count last."""
    ordered: Sequence[Configuration] = sorted(results.configurations, key=labels.of)
    lines = [
        {"run": training.run.name, "id": training.run.run_id, "row": labels.of(each), "seed": training.seed}
        | {"status": training.state, "note": ""}
        for each in ordered
        for training in each.trainings
    ]
    rows = {line["id"]: line["row"] for line in lines}
    lines += [
        {"run": run.name, "id": run.run_id, "row": rows[counted], "seed": run.tags.get("seed", "?")}
        | {"status": run.tags.get("health") or run.status.lower(), "note": f"does not count: same as {counted}"}
        for run, counted in results.duplicates
    ]
    return pd.DataFrame([{key: escape(value) for key, value in line.items()} for line in lines])


def _decimals(metric: Metric, rows: Sequence[Row]) -> int:
    return decimals_of([row.estimates[metric.name].mean * metric.scale for row in rows if metric.name in row.estimates])


def _cell(value: Estimate | None, metric: Metric, decimals: int) -> str:
    if value is None:
        return NOTHING
    spread = None if value.spread is None else value.spread * metric.scale
    return write_estimate(Estimate(value.mean * metric.scale, spread, value.num_seeds), decimals)


def _written_costs(row: Row, escape: Escape) -> dict[str, str]:
    def pair(name: str) -> str:
        generator, discriminator = (row.costs.get(f"{network}_{name}") for network in ("generator", "discriminator"))
        known = generator is not None or discriminator is not None
        return f"{write_count(generator)} / {write_count(discriminator)}" if known else NOTHING

    return {
        "updates G / D": pair("updates"),
        "images seen": write_count(row.costs.get("total_images")),
        "seconds": write_seconds(row.costs.get("seconds")),
        "device": escape(row.device),
        "parameters G / D": pair("parameters"),
    }


def _written_real(
    table: Table,
    label: str,
    real: Measured,
    metrics: Sequence[Metric],
    decimals: Mapping[str, int],
    escape: Escape,
) -> dict[str, str]:
    """Return a row of real images; they have no checkpoints: the same number stands for last and best."""
    fewer = real.num_measured != table.protocol.get("num_samples")
    values = {
        escape(metric.title): _cell(Estimate(value, None, 1), metric, decimals[metric.name])
        for metric in metrics
        if (value := real.metrics.get(metric.name.removeprefix(BEST_PREFIX))) is not None
    }
    return {"variant": f"{label} ({real.num_measured:,} images)" if fewer else label, "seeds": NOTHING, **values}


def _number(value: float | None, metric: Metric) -> str:
    return NOTHING if value is None else f"{value * metric.scale:.3g}"


def _title(corruption: str) -> str:
    known = CORRUPTIONS.get(corruption)
    return known.title if known else corruption


def _order(corruption: str) -> tuple[int, str]:
    keys = list(CORRUPTIONS)
    return (keys.index(corruption) if corruption in keys else len(keys)), corruption


def _raw_real(table: Table, real: Measured) -> dict[str, object]:
    return {f"{m.name}_mean": real.metrics[m.name] for m in table.metrics if m.name in real.metrics}


def _raw_measured(measured: Measured) -> dict[str, object]:
    """Return all numbers of one run with their uncertainties."""
    numbers: dict[str, object] = {"num_measured": measured.num_measured}
    for name, value in measured.metrics.items():
        numbers[name] = value
        for suffix, found in (("sampling_spread", measured.sampling_spread), ("error", measured.estimator_error)):
            if name in found:
                numbers[f"{name}_{suffix}"] = found[name]
    return numbers


def _raw(name: str, estimates: Mapping[str, Estimate]) -> dict[str, float | None]:
    value = estimates.get(name)
    return {f"{name}_mean": value.mean if value else None, f"{name}_spread": value.spread if value else None}
