"""The saved view of the store's UI: which runs, columns and charts one sees first.

Without it the UI's run list has no column of a metric, and its charts are those of a hundred names in alphabetical
order. The UI keeps saved views in tags of an experiment and lists them in the menu "Views" of the run list.

Source: MLflow 3.17, mlflow/server/js/src/experiment-tracking/components: experiment-page/models/
ExperimentPageUIState.tsx and ExperimentPageSearchFacetsState.tsx, experiment-page/utils/savedViewEnvelope.ts,
runs-charts/runs-charts.types.ts.
"""

import base64
import json
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.metrics.names import PUBLISHED, PUBLISHED_EXTRACTOR, kind_of, metric_name
from pipeline.tracking.failures import shown
from pipeline.tracking.runs import Stage
from pipeline.tracking.store import Store

KEY = "trainings"
NAME = "Trainings, best first"
TAG = f"mlflow.sharedViewState.{KEY}"
CREATED_MS = 1_767_225_600_000  # the UI wants a time: a constant, so that an equal view is an equal tag
MAX_CHARACTERS = 8000

TAGS = {"variant": 110, "seed": 60, "health": 120}  # columns and their widths in pixels
TAG_PIXELS = 200  # of other tags
NUMBERS = (("final", "fd"), ("best", "fd"), ("final", "kd"), ("final", "precision"), ("final", "recall"))
MEASURED = ("final", "best", "curve")
COSTS = ("cost/generator_updates", "cost/discriminator_updates", "time/train_seconds")
CHARACTER_PIXELS = 7  # of a heading

IMAGES = ("final/samples", "samples/fixed_z")
SECTIONS = ("Samples", "Quality", "Final numbers", "Parameters", "Losses", "Health")
ROWS_PIXELS = {"Samples": 710, "Parameters": 360}  # sections of cards as wide as the page: two rows of pictures
CARD_PIXELS = 340  # of all others, three side by side
NAMED_BY_THE_UI = {"": "Model metrics", "system": "System metrics"}


def install(store: Store) -> str:
    """Save the view of the trainings in the store's experiment, unless it is there just so; return its key."""
    runs = [run for run in store.find({"stage": Stage.TRAIN}) if run.experiment_id == store.experiment_id]
    saved = saved_view({name for run in runs for name in run.metrics}, group_keys([run.tags for run in runs]))
    if store.client.get_experiment(store.experiment_id).tags.get(TAG) != saved:
        store.client.set_experiment_tag(store.experiment_id, TAG, saved)
    return KEY


def ui_hint(store: Store) -> str:
    """Save the view; return the command and the address that show it."""
    key = install(store)
    if store.uri.startswith("http"):
        return f"Runs: {address(shown(store.uri), store.experiment_id, key)}"
    folder = Path(store.uri.removeprefix("sqlite:///")).parent
    where = "" if folder == Path.cwd() or not store.uri.startswith("sqlite:") else f"cd {folder} && "
    return f"Runs: {where}pipeline ui, then {address('http://127.0.0.1:5000', store.experiment_id, key)}"


def address(base: str, experiment_id: str, key: str) -> str:
    """Return where a UI shows a saved view: its table; a button of the page turns to its charts.

    base: the UI's own address, such as http://127.0.0.1:5000. A filter or an order in the address would replace the
    whole view.
    """
    path = f"experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={key}"
    return f"{base.rstrip('/')}/#/{path}"


def group_keys(tags: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the tags by which trainings are one row of the table with several seeds; none where none has several.

    Variant, and what else tells trainings of a variant apart: the mean of two configurations would mean nothing.
    """
    keys = ["variant"]
    for key in ("dataset", "overrides", "config_hash"):
        if _num_groups(tags, [*keys, key]) > _num_groups(tags, keys):
            keys.append(key)
    return keys if _num_groups(tags, keys) < len(tags) else []


def saved_view(metrics: Collection[str], groups: Sequence[str] = ()) -> str:
    """Return the tag's value, at most MAX_CHARACTERS: the view of trainings that have these metrics.

    Where there is no room, feature spaces are left out, the last of them first; the main one stays.
    """
    spaces = _spaces(metrics)
    for left_out in range(max(len(spaces), 1)):
        gone = spaces[len(spaces) - left_out :]
        saved = _packed(view_state([name for name in metrics if _space(name) not in gone], groups))
        if len(saved) <= MAX_CHARACTERS:
            break
    return saved


def view_state(metrics: Collection[str], groups: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the UI shows of trainings that have these metrics, as it keeps it.

    groups: tags whose values make a group of runs; a group has a row of means above its runs.
    """
    numbers = _numbers(metrics)
    main = next((name for name in numbers if name.startswith("final/") and _kind(name) == "fd"), None)
    widths = {f"tags.`{tag}`": TAGS.get(tag, TAG_PIXELS) for tag in (*TAGS, *groups)}
    columns = [*numbers, *(name for name in COSTS if name in metrics)]
    widths |= {f"metrics.`{name}`": CHARACTER_PIXELS * len(f"metrics{name}") for name in columns}
    return {
        "searchFilter": f"tags.stage = '{Stage.TRAIN}'",
        "orderByKey": f"metrics.`{main}`" if main else "attributes.start_time",
        "orderByAsc": main is not None,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(widths),
        "columnOrder": list(widths),
        "columnWidths": widths,
        "groupBy": _grouped(groups),
        "useGroupedValuesInCharts": False,  # images belong to runs: charts of groups would have none
        "runsHiddenMode": "SHOW_ALL",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,  # else the sections are sorted by name
        **_charts(metrics, numbers),
    }


def _num_groups(tags: Iterable[Mapping[str, str]], keys: Sequence[str]) -> int:
    return len({tuple(each.get(key) for key in keys) for each in tags})


def _kind(metric: str) -> str | None:
    """Return what a measured number is, such as fd, or None for another metric."""
    section, _, name = metric.partition("/")
    return kind_of(name) if section in MEASURED else None


def _space(metric: str) -> str | None:
    """Return the feature space of a measured number, or None for another metric."""
    kind, name = _kind(metric), metric.partition("/")[2]
    if kind is None:
        return None
    return PUBLISHED_EXTRACTOR if name in PUBLISHED.values() else name.removeprefix(f"{kind}_")


def _spaces(metrics: Iterable[str]) -> list[str]:
    """Return the feature spaces of the measured numbers, that of FID first."""
    spaces = {space for name in metrics if (space := _space(name)) is not None}
    return sorted(spaces, key=lambda space: (space != PUBLISHED_EXTRACTOR, space))


def _numbers(metrics: Collection[str]) -> list[str]:
    """Return the numbers that are columns and bars, the main one first."""
    wanted = (f"{section}/{metric_name(kind, space)}" for space in _spaces(metrics) for section, kind in NUMBERS)
    return [name for name in wanted if name in metrics]


def _grouped(groups: Sequence[str]) -> dict[str, Any] | None:
    keys = [{"mode": "tag", "groupByData": tag} for tag in groups]
    return {"aggregateFunction": "average", "groupByKeys": keys} if keys else None


def _charts(metrics: Collection[str], numbers: Sequence[str]) -> dict[str, Any]:
    """Return the sections, and the charts in them: each says its section.

    For every other metric the UI adds a chart to the section of its prefix: these are there too, but collapsed.
    """
    curves = [name for space in (*_spaces(metrics), None) for name in sorted(metrics) if _is_curve(name, space)]
    charts = [_chart("IMAGE", "Samples", key, imageKeys=[key], step=0, showRunParams=False) for key in IMAGES]
    charts += [_line("Quality", name) for name in curves]
    charts += [_chart("BAR", "Final numbers", name, metricKey=name) for name in numbers]
    charts += [_line("Losses", name) for name in sorted(metrics) if name.startswith("train/loss_")]
    charts += [_line("Health", name) for name in sorted(metrics) if name.startswith("health/")]
    charts.append(_difference("Parameters"))
    sections = [
        _section(name, columns=1 if name in ROWS_PIXELS else 3, cardHeight=ROWS_PIXELS.get(name, CARD_PIXELS))
        for name in SECTIONS
    ]
    charted = {chart["uuid"] for chart in charts}
    others = sorted({name.rpartition("/")[0] for name in metrics if name not in charted})
    sections += [_section(NAMED_BY_THE_UI.get(prefix, prefix), display=False) for prefix in others]
    return {"compareRunCharts": charts, "compareRunSections": sections}


def _is_curve(metric: str, space: str | None) -> bool:
    return metric.startswith("curve/") and _space(metric) == space


def _section(name: str, **fields: object) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": True, **fields}


def _chart(kind: str, section: str, uuid: str, **fields: object) -> dict[str, Any]:
    return {"type": kind, "uuid": uuid, "metricSectionId": section, "deleted": False, "isGenerated": False, **fields}


def _line(section: str, name: str) -> dict[str, Any]:
    """Return a chart of a curve over the steps, as it is: the UI smooths where it is told nothing."""
    axes = {"xAxisKey": "step", "xAxisScaleType": "linear", "scaleType": "linear", "lineSmoothness": 0}
    common = {"useGlobalXaxisKey": True, "useGlobalLineSmoothing": True}
    return _chart("LINE", section, name, metricKey=name, **axes, **common)


def _difference(section: str) -> dict[str, Any]:
    """Return a table of the parameters that are not the same in all runs."""
    how = {"showDifferencesOnly": True, "showChangeFromBaseline": False, "baselineColumnUuid": ""}
    title = "Parameters that differ"
    return _chart("DIFFERENCE", section, title, chartName=title, compareGroups=["Parameters"], **how)


def _packed(state: Mapping[str, Any]) -> str:
    """Return a state as a saved view with a name, compressed as the UI compresses."""
    content = zlib.compress(json.dumps(state, separators=(",", ":")).encode(), level=9)
    packed = f"deflate;{base64.b64encode(content).decode()}"
    return json.dumps({"name": NAME, "createdAt": CREATED_MS, "updatedAt": CREATED_MS, "state": packed})
