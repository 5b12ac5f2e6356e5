"""What the UI shows above a run: what it was, its numbers and where to read on. All of it from the run itself."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.identity import flatten, write_value
from pipeline.metrics.names import BEST_PREFIX, KINDS, header_of, kind_of
from pipeline.reporting.formats import MARKDOWN
from pipeline.reporting.numbers import NOTHING, decimals_of
from pipeline.reporting.reading import measured_of
from pipeline.reporting.results import clean
from pipeline.tracking import CONFIG, SAMPLES_FILE, Run

escape, code, strong = MARKDOWN.escape, MARKDOWN.code, MARKDOWN.strong
SHOWN = ("fd", "kd", "precision", "recall")


def run_page(run: Run, report_run: str | None = None) -> str:
    """Return the description of a training run, as markdown. report_run: the run that holds the report."""
    tags = run.tags
    config = _mapping(tags.get(CONFIG, ""))
    numbers = _numbers(run)
    first = f"{strong(escape(str(config.get('title', run.name))))}, seed {escape(tags.get('seed', '?'))}"
    changed = ", ".join(f"{name}={value}" for name, value in _changed(tags, config).items())
    parts = [
        f"{first}{f' ({escape(changed)})' if changed else ''}{_summary(numbers)}",
        _links(run, report_run),
        *_tables(numbers),
        _what(run, config),
        f"![samples]({_artifact(run, SAMPLES_FILE)})" if run.status == "FINISHED" else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _summary(numbers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the main number of each feature space in half a line."""
    words = []
    for each in numbers.values():
        name = next((name for name in each["last"] if kind_of(name) == "fd"), None)
        if name is None:
            continue
        best = each["best"].get(name)
        flags = f" ({escape(', '.join(each['flags']))})" if each["flags"] else ""
        decimals = decimals_of([each["last"][name]])
        shown = f"{code(name)} {each['last'][name]:.{decimals}f}"
        words.append(f"{shown}{f', best {best:.{decimals}f}' if best is not None else ''}{flags}")
    return f": {'; '.join(words)}" if words else ""


def _links(run: Run, report_run: str | None) -> str:
    base = f"#/experiments/{run.experiment_id}/runs"
    links = {
        "configuration": f"{base}/{run.run_id}/artifacts/config/resolved.yaml",
        "samples": f"{base}/{run.run_id}/artifacts/{SAMPLES_FILE}",
        "protocols and all numbers": f"{base}/{run.run_id}/artifacts/evaluation",
        **({"report": f"{base}/{report_run}/artifacts/report/report.html"} if report_run else {}),
    }
    return " · ".join(f"[{name}]({link})" for name, link in links.items())


def _tables(numbers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a table for each protocol."""
    tables = []
    for protocol, each in numbers.items():
        lines = []
        for name, value in each["last"].items():
            kind = kind_of(name)
            if kind not in SHOWN:
                continue
            scale = KINDS[kind].scale
            values = [value, each["best"].get(name)]
            decimals = decimals_of([value * scale])
            cells = [NOTHING if v is None else f"{v * scale:.{decimals}f}" for v in values]
            header = header_of(name) + (f" ×{scale:g}" if scale != 1 else "")
            plain = code(name.replace("|", ""))  # in a table it ends the cell even in code
            lines.append({"number": f"{escape(header)} ({plain})", "last": cells[0], "best": cells[1]})
        if lines:
            title = f"{escape(each['title'])}, protocol {code(protocol)}:"
            tables.append(f"{title}\n\n{_grid(lines)}")
    return tables


def _numbers(run: Run) -> dict[str, dict[str, Any]]:
    """Return by protocol what was measured, of the last generator and of the best one; nothing where it is damaged."""
    try:
        measured = measured_of(run) if run.status == "FINISHED" else {}
    except ValueError:
        return {}
    return {
        key: {
            "last": {name: value for name, value in each.metrics.items() if not name.startswith(BEST_PREFIX)},
            "best": {n.removeprefix(BEST_PREFIX): v for n, v in each.metrics.items() if n.startswith(BEST_PREFIX)},
            "flags": [clean(flag) for flag in each.flags],
            "title": f"{each.protocol.get('extractor', '?')}, {each.protocol.get('num_samples', '?')} samples",
        }
        for key, each in measured.items()
    }


def _what(run: Run, config: Mapping[str, Any]) -> str:
    optimizer = config.get("optimizer")
    optimizer = optimizer if isinstance(optimizer, Mapping) else {}
    digest = run.tags.get("dataset_digest", "")[:12]
    words = {
        "variant": run.tags.get("variant"),
        "images": f"{run.tags.get('dataset')} ({run.tags.get('num_images')}, digest {digest})",
        "loss": config.get("loss"),
        "optimizer": f"{optimizer.get('name')}, lr {optimizer.get('lr')}",
        "batch size": config.get("batch_size"),
        "epochs": config.get("epochs"),
        "precision": config.get("precision"),
        "device": run.tags.get("device"),
        "health": run.tags.get("health") or "nothing to report",
    }
    lines = [{"what": key, "value": escape(str(value))} for key, value in words.items()]
    repeat = code("pipeline train --variant resolved.yaml")
    return f"The training:\n\n{_grid(lines)}\n\nWith its whole configuration, {repeat} repeats this run."


def _grid(lines: Sequence[Mapping[str, str]]) -> str:
    """Return a table of cells that are written already. A store has hundreds of runs, and pandas takes 3 ms a table."""
    rows = [list(lines[0]), *(list(line.values()) for line in lines)]
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|:--" * len(lines[0]) + "|", *body])


def _artifact(run: Run, path: str) -> str:
    return f"get-artifact?path={path.replace('/', '%2F')}&run_uuid={run.run_id}"


def _changed(tags: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str]:
    values = flatten(config)
    return {name: write_value(values[name]) for name in tags.get("changed", "").split() if name in values}


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
