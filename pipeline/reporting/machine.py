"""The report for machines: unrounded numbers as CSV, one JSON file with all that the pages show."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from pipeline.reporting.claims import PLAIN
from pipeline.reporting.frames import REAL
from pipeline.reporting.model import CURVES, Report
from pipeline.reporting.numbers import Estimate
from pipeline.reporting.results import Measured, clean
from pipeline.reporting.tables import COSTS, Row, Table


def csv_files(report: Report) -> dict[str, str]:
    """Return the index of the protocols and, for each of them, the rows and the runs, by file name."""
    frames = {}
    index = []
    for table in report.tables:
        frames[f"table-{table.name}.csv"] = raw(table)
        frames[f"runs-{table.name}.csv"] = raw_runs(table)
        files = {"table": f"table-{table.name}.csv", "runs": f"runs-{table.name}.csv"}
        protocol = {key: clean(value) if isinstance(value, str) else value for key, value in table.protocol.items()}
        index.append({"protocol": table.name, **files, **protocol})
    frames["curves.csv"] = curves(report)
    frames["protocols.csv"] = pd.DataFrame(index).convert_dtypes()
    return {name: _inert(frame).to_csv(index=False, lineterminator="\n") for name, frame in frames.items()}


def curves(report: Report) -> pd.DataFrame:
    """Return every point that was measured during the trainings, a line each."""
    lines = [
        (report.labels.of(each), training.run.run_id, training.seed, name.removeprefix(CURVES), int(step), float(value))
        for each in report.results.configurations
        for training in each.trainings
        for name, curve in sorted(training.curves.items())
        if name.startswith(CURVES)
        for step, value in zip(curve.steps, curve.values, strict=True)
    ]
    return pd.DataFrame(lines, columns=["row", "run_id", "seed", "metric", "step", "value"])


def _inert(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of which a spreadsheet computes nothing: a text that could be a formula begins with a quote.

    Numbers stay numbers, negative ones too. Source: OWASP, CSV injection.
    """
    return frame.rename(columns=_not_a_formula).map(_not_a_formula)


def _not_a_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@")) else value


def json_text(report: Report, software: str) -> str:
    """Return tables, curves' views, claims and runs as JSON; what is not finite is null."""
    content = {
        "software": software,
        "common": list(report.labels.common),
        "tables": [_table(table) for table in report.tables],
        "trainings": [
            {
                "dataset": group.dataset,
                "protocol": group.selection,
                "equal_effort": {name: [asdict(view) for view in views] for name, views in group.views.items()},
                "stability": {
                    name: {label: asdict(each) for label, each in rows.items()}
                    for name, rows in group.stability.items()
                },
            }
            for group in report.groups
        ],
        "claims": [
            {"protocol": table.name, "id": each.claim.id, "text": each.claim.text, "verdict": each.verdict}
            | {"evidence": each.evidence, "remedies": list(each.remedies)}
            for table in report.tables
            for each in report.judgements(table, PLAIN)
        ],
        "runs": [
            {"run_id": training.run.run_id, "name": training.run.name, "row": report.labels.of(each)}
            | {"seed": training.seed, "status": training.state, "config_hash": each.config_hash}
            for each in report.results.configurations
            for training in each.trainings
        ],
        "environments": {
            name: {"environment": dict(each.environment), "runs": [run.run_id for run in each.runs]}
            for name, each in report.results.environments.items()
        },
        "duplicates": [{"run_id": run.run_id, "same_as": counted} for run, counted in report.results.duplicates],
        "refused": [{"run_id": run.run_id, "reason": reason} for run, reason in report.results.refused],
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def raw(table: Table) -> pd.DataFrame:
    """Return a table's numbers, unrounded and not scaled; what is missing is empty."""
    lines: list[dict[str, object]] = [
        {"row": row.label, "variant": row.configuration.variant, "config_hash": row.configuration.config_hash}
        | {"num_seeds": row.num_seeds, "num_runs": row.num_runs, "status": row.status}
        | {key: value for metric in table.metrics for key, value in _pair(metric.name, row.estimates).items()}
        | _pair("diversity", {"diversity": row.diversity} if row.diversity else {})
        | {f"mean_{field}" if field == "seconds" else field: row.costs.get(field) for field in COSTS}
        | {"device": row.device}
        for row in table.rows
    ]
    for label, status, real in _real_rows(table):
        numbers: dict[str, object] = {
            f"{m.name}_mean": real.metrics[m.name] for m in table.metrics if m.name in real.metrics
        }
        lines.append({"row": label, "variant": "real", "status": status} | numbers)
    return pd.DataFrame(lines).convert_dtypes()


def raw_runs(table: Table) -> pd.DataFrame:
    """Return every run of a table with all its metrics, also those that are no column, unrounded and not scaled."""
    lines: list[dict[str, object]] = []
    for row in table.rows:
        for training in row.configuration.trainings:
            measured = training.measured.get(table.name)
            lines.append(
                {"row": row.label, "run_id": training.run.run_id, "seed": training.seed, "status": training.state}
                | (_measured(measured) if measured else {})
            )
    lines += [{"row": label} | _measured(real) for label, _, real in _real_rows(table)]
    return pd.DataFrame(lines).convert_dtypes()


def _real_rows(table: Table) -> Sequence[tuple[str, str, Measured]]:
    floor = [] if table.floor is None else [(REAL, "floor", table.floor)]
    return [*floor, *((f"{REAL} {title}", "sanity", each) for title, each in sorted(table.corrupted.items()))]


def _table(table: Table) -> dict[str, Any]:
    return {
        "protocol_hash": table.protocol_hash,
        "protocol": dict(table.protocol),
        "rows": [_row(row) for row in table.rows],
        "real": [{"row": label, "status": status} | asdict(each) for label, status, each in _real_rows(table)],
        "comparisons": [
            {"metric": each.metric.name, "lowest": each.lowest, "is_best": each.is_best}
            | {"ties": list(each.ties), "unknown": list(each.unknown)}
            for each in table.verdicts
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    """Return a row with the configuration that its label was made from."""
    return {
        "row": row.label,
        "variant": row.configuration.variant,
        "changed": dict(row.configuration.overridden),
        "config": dict(row.configuration.config),
        "config_hash": row.configuration.config_hash,
        "num_seeds": row.num_seeds,
        "num_runs": row.num_runs,
        "status": row.status,
        "metrics": {name: asdict(each) for name, each in row.estimates.items()},
        "sampling_spread": dict(row.sampling),
        "estimator_error": dict(row.errors),
        "diversity": asdict(row.diversity) if row.diversity else None,
        "costs": dict(row.costs) | {"device": row.device},
    }


def _measured(measured: Measured) -> dict[str, object]:
    """Return all numbers of one run with their uncertainties."""
    numbers: dict[str, object] = {"num_measured": measured.num_measured}
    for name, value in measured.metrics.items():
        numbers[name] = value
        for suffix, found in (("sampling_spread", measured.sampling_spread), ("error", measured.estimator_error)):
            if name in found:
                numbers[f"{name}_{suffix}"] = found[name]
    return numbers


def _pair(name: str, estimates: Mapping[str, Estimate]) -> dict[str, float | None]:
    value = estimates.get(name)
    return {f"{name}_mean": value.mean if value else None, f"{name}_spread": value.spread if value else None}


def _finite(value: Any) -> Any:
    """Return plain data in which NaN and infinity, which JSON does not have, are None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
