"""The saved view of the UI, as a function of the names of metrics."""

import base64
import json
import zlib
from typing import Any

import pytest

from pipeline.tracking import views
from pipeline.tracking.views import address, group_keys, saved_view, view_state

SPACES = ("efficientnet_lite0", "inception768")


def metrics_of(*spaces: str) -> list[str]:
    numbers = [f"{kind}_{space}" for space in spaces for kind in ("fd", "fd_infinity", "kd", "precision", "recall")]
    return [
        *(f"{section}/{name}" for section in ("final", "best", "final_estimator_error") for name in numbers),
        *(f"curve/{kind}_{space}" for space in spaces for kind in ("fd", "kd")),
        *("train/loss_generator", "train/loss_discriminator", "train/epoch", "health/diversity"),
        *("cost/generator_updates", "cost/total_images", "time/train_seconds", "gradient_norm/generator/1_linear"),
    ]


def unpacked(saved: str) -> dict[str, Any]:
    envelope = json.loads(saved)
    assert {key: type(value) for key, value in envelope.items()} == {
        "name": str,
        "createdAt": int,
        "updatedAt": int,
        "state": str,
    }
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(envelope["state"].removeprefix("deflate;"))))
    return state


def titles(state: dict[str, Any]) -> dict[str, list[str]]:
    """Return the charts of each section that is open."""
    return {
        section["name"]: [
            each["uuid"] for each in state["compareRunCharts"] if each["metricSectionId"] == section["uuid"]
        ]
        for section in state["compareRunSections"]
        if section["display"]
    }


def test_columns_are_what_matters_and_the_best_comes_first() -> None:
    state = view_state(metrics_of("efficientnet_lite0"), ["variant"])
    assert state["searchFilter"] == "tags.stage = 'train'"
    assert state["selectedColumns"] == state["columnOrder"] == list(state["columnWidths"])
    assert state["selectedColumns"] == [
        "tags.`variant`",
        "tags.`seed`",
        "tags.`health`",
        "metrics.`final/fd_efficientnet_lite0`",
        "metrics.`best/fd_efficientnet_lite0`",
        "metrics.`final/kd_efficientnet_lite0`",
        "metrics.`final/precision_efficientnet_lite0`",
        "metrics.`final/recall_efficientnet_lite0`",
        "metrics.`cost/generator_updates`",
        "metrics.`time/train_seconds`",
    ]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`final/fd_efficientnet_lite0`", True)


@pytest.mark.parametrize(
    ("names", "main"),
    [
        (["final/fd_vgg16", "final/fd_dinov2"], "final/fd_dinov2"),
        (["final/fd_dinov2", "final/fid", "final/fid_infinity"], "final/fid"),
        (["best/fid", "final/fd_dinov2"], "final/fd_dinov2"),
    ],
)
def test_the_main_number_decides_the_order(names: list[str], main: str) -> None:
    assert view_state(names)["orderByKey"] == f"metrics.`{main}`"


def test_without_an_evaluation_the_newest_comes_first() -> None:
    state = view_state(["train/loss_generator"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("attributes.start_time", False)


def test_charts_of_all_feature_spaces_are_in_sections_with_pictures_on_top() -> None:
    state = view_state(metrics_of(*SPACES))
    shown = titles(state)
    assert list(shown) == ["Samples", "Quality", "Final numbers", "Parameters", "Losses", "Health"]
    assert shown["Samples"] == ["final/samples", "samples/fixed_z"]
    assert shown["Quality"] == [f"curve/{kind}_{space}" for space in SPACES for kind in ("fd", "kd")]
    assert shown["Final numbers"] == [
        column.removeprefix("metrics.`").rstrip("`")
        for column in state["selectedColumns"]
        if column.startswith(("metrics.`final/", "metrics.`best/"))
    ]
    assert shown["Losses"] == ["train/loss_discriminator", "train/loss_generator"]
    collapsed = [section["name"] for section in state["compareRunSections"] if not section["display"]]
    assert collapsed == ["best", "cost", "final", "final_estimator_error", "gradient_norm/generator", "time", "train"]


def test_the_same_metrics_are_the_same_bytes_in_any_order() -> None:
    names = metrics_of(*SPACES)
    assert saved_view(names) == saved_view(set(names)) == saved_view(names[::-1])
    assert unpacked(saved_view(names, ["variant"])) == view_state(names, ["variant"])


def test_the_last_feature_spaces_are_left_out_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    names = metrics_of(*SPACES)
    everything, one = saved_view(names), saved_view(metrics_of(SPACES[0]))
    assert len(one) < len(everything) <= views.MAX_CHARACTERS
    monkeypatch.setattr(views, "MAX_CHARACTERS", len(everything) - 1)
    assert saved_view(names) == one
    monkeypatch.setattr(views, "MAX_CHARACTERS", 1)
    assert saved_view(names) == one  # the main space stays


def test_many_feature_spaces_fit() -> None:
    names = metrics_of(*(f"feature_space_{number}" for number in range(10)))
    assert len(saved_view(names, ["variant"])) <= views.MAX_CHARACTERS
    assert unpacked(saved_view(names)) == view_state(names)


def test_a_store_without_trainings_has_a_view_too() -> None:
    assert unpacked(saved_view([]))["groupBy"] is None


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([], []),
        ([{"variant": "a"}, {"variant": "b"}], []),
        ([{"variant": "a"}, {"variant": "a"}], ["variant"]),
        ([{"variant": "a", "overrides": "lr=1"}] * 2 + [{"variant": "b", "overrides": ""}], ["variant"]),
        ([{"variant": "a", "overrides": "lr=1"}] * 2 + [{"variant": "a", "overrides": ""}], ["variant", "overrides"]),
        ([{"variant": "a", "config_hash": "1"}, {"variant": "a", "config_hash": "2"}], []),
    ],
)
def test_groups_are_seeds_of_one_configuration(runs: list[dict[str, str]], expected: list[str]) -> None:
    assert group_keys(runs) == expected
    grouped = view_state([], expected)["groupBy"]
    assert (grouped is None) == (not expected)


def test_address() -> None:
    expected = "http://host:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=trainings"
    assert address("http://host:5000/", "1", "trainings") == expected
