"""Tables as pandas frames of written cells, for people. The numbers for machines are in `machine`."""

from collections.abc import Mapping, Sequence

import pandas as pd

from pipeline.metrics.names import BEST_PREFIX
from pipeline.reporting.budgets import View
from pipeline.reporting.claims import Judgement
from pipeline.reporting.curves import AXES
from pipeline.reporting.formats import Format
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
from pipeline.reporting.stability import MEASURES, Stability
from pipeline.reporting.tables import Metric, Row, Table, compare

REAL = "real images"
ROW = "variant"
MOST_NAMED = 12  # runs of an environment


def written(table: Table, fmt: Format, *, costs: bool = True) -> pd.DataFrame:
    """Return the main table as people read it, real images last. What is best beyond doubt is strong.

    costs: with what the rows cost.
    """
    frame = _written(table, [metric for metric in table.metrics if metric.in_main], fmt)
    real = [*(["floor"] if table.floor else []), *("sanity" for _ in table.corrupted)]
    frame["diversity ↑"] = [*(_diversity(row.diversity) for row in table.rows), *(NOTHING for _ in real)]
    frame["health"] = [*(fmt.escape(row.status) for row in table.rows), *real]
    if costs:
        frame = frame.join(pd.DataFrame([_written_costs(row, fmt) for row in table.rows]))
    frame.columns = pd.Index([fmt.escape(str(column)) for column in frame.columns])
    return frame.fillna(NOTHING)


def costs_of(table: Table, fmt: Format) -> pd.DataFrame:
    """Return what the rows cost, as a table of its own."""
    lines = [{ROW: fmt.escape(row.label)} | _written_costs(row, fmt) for row in table.rows]
    return pd.DataFrame(lines).fillna(NOTHING)


def further(table: Table, fmt: Format) -> pd.DataFrame | None:
    """Return the metrics that are not in the main table, or None where there are none."""
    metrics = [metric for metric in table.metrics if not metric.in_main]
    if not metrics:
        return None
    frame = _written(table, metrics, fmt).fillna(NOTHING)
    frame.columns = pd.Index([fmt.escape(str(column)) for column in frame.columns])
    return frame


def uncertainty(table: Table, fmt: Format) -> pd.DataFrame:
    """Return three kinds of uncertainty of the main metrics, kept apart: training, sampling, estimator."""
    titles = {metric.name: fmt.escape(metric.title) for metric in table.metrics}
    lines = [
        {
            ROW: fmt.escape(row.label),
            "metric": titles[metric.name],
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


def at_equal_effort(views: Sequence[View], labels: Sequence[str], fmt: Format) -> pd.DataFrame:
    """Return one line for each row and one column for each view; what is lowest beyond doubt is strong."""
    lines = {label: {ROW: fmt.escape(label)} for label in labels}
    for view in views:
        header = f"{write_count(view.budget)} {AXES[view.axis].title}"
        best = compare(view.estimates)
        for label in labels:
            text = _fixed(view.estimates.get(label), 1)
            is_best = best is not None and best.is_best and best.lowest == label
            lines[label][header] = fmt.best(text) if is_best else text
    return pd.DataFrame(list(lines.values()))


def steadiness(rows: Mapping[str, Stability], labels: Sequence[str], fmt: Format) -> pd.DataFrame:
    """Return one line for each row and one column for each measure of the trainings' course."""
    lines = []
    for label in labels:
        found = rows[label].estimates
        lines.append(
            {ROW: fmt.escape(label)}
            | {fmt.escape(each.header): _fixed(found.get(name), 2) for name, each in MEASURES.items()}
        )
    return pd.DataFrame(lines)


def verdicts(judgements: Sequence[Judgement], fmt: Format) -> pd.DataFrame:
    """Return one line for each claim. Their evidence is written in the same format already."""
    lines = [
        {
            "claim": fmt.escape(each.claim.text),
            "verdict": each.verdict if each.verdict == "undecided" else fmt.strong(each.verdict),
            "evidence": each.evidence,
        }
        for each in judgements
    ]
    return pd.DataFrame(lines)


def runs(results: Results, labels: Labels, fmt: Format) -> pd.DataFrame:
    """Return all training runs: those that count, then duplicates, then those that were refused."""
    ordered: Sequence[Configuration] = sorted(results.configurations, key=labels.of)
    lines = [
        {"run": training.run.name, "id": training.run.run_id, "row": labels.of(each), "seed": training.seed}
        | {"status": training.state, "note": ""}
        for each in ordered
        for training in each.trainings
    ]
    rows = {line["id"]: line["row"] for line in lines}
    others = [(run, rows[counted], f"does not count: same as {counted}") for run, counted in results.duplicates]
    others += [(run, NOTHING, f"refused: {reason}") for run, reason in results.refused]
    lines += [
        {"run": run.name, "id": run.run_id, "row": row, "seed": run.tags.get("seed", "?")}
        | {"status": run.tags.get("health") or run.status.lower(), "note": note}
        for run, row, note in others
    ]
    return pd.DataFrame([{key: fmt.escape(value) for key, value in line.items()} for line in lines])


def environments(results: Results, fmt: Format) -> pd.DataFrame:
    """Return where the trainings that count were computed: a column for each environment, a line for each field."""
    columns = {
        name: {**each.environment, "runs": _runs_in_words([run.name for run in each.runs])}
        for name, each in results.environments.items()
    }
    fields = dict.fromkeys(key for column in columns.values() for key in column)
    return pd.DataFrame(
        [
            {"field": fmt.escape(key)}
            | {name: fmt.escape(column.get(key, NOTHING)) for name, column in columns.items()}
            for key in fields
        ]
    )


def _runs_in_words(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_NAMED else f"{len(names):,} runs"


def _written(table: Table, metrics: Sequence[Metric], fmt: Format) -> pd.DataFrame:
    best = {(verdict.metric.name, verdict.lowest) for verdict in table.verdicts if verdict.is_best}
    decimals = {metric.name: _decimals(metric, table.rows) for metric in metrics}
    titles = {metric.name: metric.title for metric in metrics}
    lines = []
    for row in table.rows:
        values = {
            titles[metric.name]: (fmt.best if (metric.name, row.label) in best else str)(
                fmt.escape(_cell(row.estimates.get(metric.name), metric, decimals[metric.name]))
            )
            for metric in metrics
        }
        seeds = str(row.num_seeds) if row.num_seeds == row.num_runs else f"{row.num_seeds} of {row.num_runs}"
        lines.append({ROW: fmt.escape(row.label), "seeds": seeds} | values)
    if table.floor is not None:
        lines.append(_written_real(table, REAL, table.floor, metrics, decimals, fmt))
    lines += [
        _written_real(table, f"{REAL} {title}", each, metrics, decimals, fmt)
        for title, each in sorted(table.corrupted.items(), key=lambda item: _order(item[1], metrics))
    ]
    return pd.DataFrame(lines)


def _order(real: Measured, metrics: Sequence[Metric]) -> float:
    return real.metrics.get(metrics[0].name, 0.0) if metrics else 0.0


def _decimals(metric: Metric, rows: Sequence[Row]) -> int:
    return decimals_of([row.estimates[metric.name].mean * metric.scale for row in rows if metric.name in row.estimates])


def _cell(value: Estimate | None, metric: Metric, decimals: int) -> str:
    if value is None:
        return NOTHING
    spread = None if value.spread is None else value.spread * metric.scale
    scaled = Estimate(value.mean * metric.scale, spread, value.num_seeds)
    return write_estimate(scaled, decimals, fixed=metric.aligned)


def _fixed(value: Estimate | None, decimals: int) -> str:
    return NOTHING if value is None else write_estimate(value, decimals, fixed=True)


def _diversity(value: Estimate | None) -> str:
    return _fixed(value, 2)


def _written_costs(row: Row, fmt: Format) -> dict[str, str]:
    def pair(name: str) -> str:
        generator, discriminator = (row.costs.get(f"{network}_{name}") for network in ("generator", "discriminator"))
        known = generator is not None or discriminator is not None
        return f"{write_count(generator)} / {write_count(discriminator)}" if known else NOTHING

    return {
        "updates G / D": pair("updates"),
        "images seen": write_count(row.costs.get("total_images")),
        "seconds": write_seconds(row.costs.get("seconds")),
        "device": fmt.escape(row.device),
        "parameters G / D": pair("parameters"),
    }


def _written_real(
    table: Table,
    label: str,
    real: Measured,
    metrics: Sequence[Metric],
    decimals: Mapping[str, int],
    fmt: Format,
) -> dict[str, str]:
    """Return a row of real images; they have no checkpoints: the same number stands for last and best."""
    fewer = real.num_measured != table.protocol.get("num_samples")
    values = {
        metric.title: fmt.escape(_cell(Estimate(value, None, 1), metric, decimals[metric.name]))
        for metric in metrics
        if (value := real.metrics.get(metric.name.removeprefix(BEST_PREFIX))) is not None
    }
    shown = f"{label} ({real.num_measured:,} images)" if fewer else label
    return {ROW: fmt.escape(shown), "seeds": NOTHING, **values}


def _number(value: float | None, metric: Metric) -> str:
    return NOTHING if value is None else f"{value * metric.scale:.3g}"
