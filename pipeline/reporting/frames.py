"""Tables as pandas frames: written cells for people, raw numbers for CSV."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from pipeline.reporting.labels import Labels
from pipeline.reporting.numbers import (
    NOTHING,
    Estimate,
    decimals_of,
    write_count,
    write_estimate,
    write_seconds,
)
from pipeline.reporting.results import Configuration, Measured, Results
from pipeline.reporting.tables import COSTS, Metric, Row, Table

REAL = "real images"
Escape = Callable[[str], str]


def written(table: Table, *, escape: Escape, strong: Escape, costs: bool) -> pd.DataFrame:
    """Return a table as people read it, the floor last. strong: marks the values that are best beyond doubt."""
    best = {(verdict.metric.name, verdict.lowest) for verdict in table.verdicts if verdict.is_best}
    decimals = {metric.name: _decimals(metric, table.rows) for metric in table.metrics}
    lines = []
    for row in table.rows:
        values = {
            escape(metric.title): (strong if (metric.name, row.label) in best else str)(
                _cell(row.estimates.get(metric.name), metric, decimals[metric.name])
            )
            for metric in table.metrics
        }
        seeds = str(row.num_seeds) if row.num_seeds == row.num_runs else f"{row.num_seeds} of {row.num_runs}"
        line = {"variant": escape(row.label), "seeds": seeds} | values | {"status": escape(row.status)}
        lines.append(line | (_written_costs(row, escape) if costs else {}))
    if table.floor is not None:
        lines.append(_written_floor(table, table.floor, decimals, escape))
    return pd.DataFrame(lines).fillna(NOTHING)


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
        names = [metric.name for metric in table.metrics if metric.name in table.floor.metrics]
        values = {f"{name}_mean": table.floor.metrics[name] for name in names}
        lines.append({"row": REAL, "variant": "real", "status": "floor", **values})
    return pd.DataFrame(lines).convert_dtypes()


def raw_runs(table: Table) -> pd.DataFrame:
    """Return every run of a table with all its metrics, also those that are no column, unrounded and not scaled."""
    lines: list[dict[str, object]] = []
    for row in table.rows:
        for training in row.configuration.trainings:
            measured = training.measured.get(table.name)
            lines.append(
                {"row": row.label, "run_id": training.run.run_id, "seed": training.seed, "status": training.state}
                | ({"num_measured": measured.num_measured, **measured.metrics} if measured else {})
            )
    if table.floor is not None:
        lines.append({"row": REAL, "num_measured": table.floor.num_measured, **table.floor.metrics})
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


def _written_floor(table: Table, floor: Measured, decimals: Mapping[str, int], escape: Escape) -> dict[str, str]:
    fewer = floor.num_measured != table.protocol.get("num_samples")
    values = {
        escape(metric.title): _cell(Estimate(floor.metrics[metric.name], None, 1), metric, decimals[metric.name])
        for metric in table.metrics
        if metric.name in floor.metrics
    }
    label = f"{REAL} ({floor.num_measured:,} images)" if fewer else REAL
    return {"variant": label, "seeds": NOTHING, **values, "status": "floor"}


def _raw(name: str, estimates: Mapping[str, Estimate]) -> dict[str, float | None]:
    value = estimates.get(name)
    return {f"{name}_mean": value.mean if value else None, f"{name}_spread": value.spread if value else None}
