"""What stands above a run in the UI."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline.reporting.run_page import run_page
from pipeline.tracking import CONFIG, EVALUATION, Run

HOSTILE = "a|b <script>alert(1)</script>\n# *x* [l](u) `c` \\"
SHOWN = r"a\|b &lt;script&gt;alert(1)&lt;/script&gt; # \*x\* \[l\](u) \`c\` \\"
PROTOCOL = {"extractor": "Inception-v3", "num_samples": 5000}
LAST = {"fd_x": 12.34, "kd_x": 0.00123, "precision_x": 0.5, "recall_x": 0.25, "density_x": 0.7, "fd_infinity_x": 8.0}
BEST = {"fd_x": 9.96, "kd_x": 0.0009, "precision_x": 0.125}


def config(**fields: Any) -> dict[str, Any]:
    optimizer = {"name": "rmsprop", "lr": 0.0002}
    return {"title": "WGAN", "loss": "wasserstein", "optimizer": optimizer, "weight_clip": 0.1, **fields}


def result(
    metrics: Mapping[str, float], /, checkpoint: str = "last", protocol_hash: str = "aaaa1111", **changes: Any
) -> dict[str, str]:
    """Return the tag that the evaluate stage writes. changes: of what stands in it."""
    protocol = changes.pop("protocol", PROTOCOL)
    fields = {"checkpoint": checkpoint, "num_measured": 5000, "metrics": dict(metrics), "flags": []}
    content = {
        "protocol_hash": protocol_hash,
        "protocol": protocol,
        "result": fields | {"sampling_spread": {}, "estimator_error": {}} | changes,
    }
    return {f"{EVALUATION}x.{protocol_hash}.{checkpoint}": json.dumps(content)}


def made(*results: Mapping[str, str], status: str = "FINISHED", **tags: str) -> Run:
    own = {
        "variant": "wgan", "seed": "7", "dataset": "faces", "dataset_digest": "0123456789abcdef", "num_images": "9000",
        "device": "cpu (2)", "health": "", CONFIG: json.dumps(config()), "changed": "",
    }  # fmt: skip
    all_tags = {key: value for each in [own, *results, tags] for key, value in each.items()}
    return Run("abc123", "4", "wgan-s7", status, all_tags, {}, {}, 0)


def cells(page: str) -> list[list[str]]:
    """Return the cells of all lines of tables."""
    lines = [line for line in page.splitlines() if line.startswith("|") and not line.startswith("|:")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.replace("\\\\", ""))[1:-1]] for line in lines]


def numbers(page: str) -> dict[str, list[str]]:
    return {line[0]: line[1:] for line in cells(page) if len(line) == 3}


def what(page: str) -> dict[str, str]:
    return {line[0]: line[1] for line in cells(page) if len(line) == 2}


def test_the_first_line_says_what_it_was_and_how_good() -> None:
    tags = {"changed": "optimizer.lr weight_clip gone"}
    page = run_page(made(result(LAST, flags=["collapsed"]), result(BEST, "best"), **tags))
    assert page.splitlines()[0] == (
        "**WGAN**, seed 7 (optimizer.lr=0.0002, weight_clip=0.1): `fd_x` 12.3, best 10.0 (collapsed)"
    )


def test_numbers_of_the_last_and_the_best_generator_have_their_scale_and_decimals() -> None:
    page = run_page(made(result(LAST), result(BEST, "best")))
    assert numbers(page) == {
        "number": ["last", "best"],
        "FD (`fd_x`)": ["12.3", "10.0"],
        "KD ×1000 (`kd_x`)": ["1.23", "0.90"],
        "precision (`precision_x`)": ["0.500", "0.125"],
        "recall (`recall_x`)": ["0.250", "-"],
    }
    assert "Inception-v3, 5000 samples, protocol `aaaa1111`:\n\n|" in page


@pytest.mark.parametrize(
    ("value", "shown"),
    [(249.96, "250.0"), (0.0412, "0.0412"), (2.845, "2.85"), (math.nan, "nan"), (math.inf, "inf"), (1234.56, "1234.6")],
)
def test_a_frechet_distance_has_three_digits_and_a_decimal_at_least(value: float, shown: str) -> None:
    page = run_page(made(result({"fid": value})))
    assert numbers(page)["FID (`fid`)"] == [shown, "-"]
    assert page.splitlines()[0].endswith(f": `fid` {shown}")


def test_each_protocol_has_a_table_and_a_place_in_the_first_line() -> None:
    other = result({"fid": 40.0, "kid": -0.002}, protocol_hash="bbbb2222", protocol={"extractor": "FID's own"})
    page = run_page(made(result(LAST), other))
    assert page.splitlines()[0] == "**WGAN**, seed 7: `fd_x` 12.3; `fid` 40.0"
    assert numbers(page)["KID ×1000 (`kid`)"] == ["-2.00", "-"]
    assert [line for line in page.splitlines() if line.endswith("`:")] == [
        "Inception-v3, 5000 samples, protocol `aaaa1111`:",
        "FID's own, ? samples, protocol `bbbb2222`:",
    ]


def test_what_was_trained() -> None:
    assert what(run_page(made(**{CONFIG: json.dumps(config(batch_size=64, epochs=2.5, precision="auto"))}))) == {
        "what": "value",
        "variant": "wgan",
        "images": "faces (9000, digest 0123456789ab)",
        "loss": "wasserstein",
        "optimizer": "rmsprop, lr 0.0002",
        "batch size": "64",
        "epochs": "2.5",
        "precision": "auto",
        "device": "cpu (2)",
        "health": "nothing to report",
    }
    assert what(run_page(made(health="diverged")))["health"] == "diverged"


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED"])
def test_a_run_that_did_not_finish_has_neither_numbers_nor_samples(status: str) -> None:
    page = run_page(made(result(LAST), result(BEST, "best"), status=status))
    assert page.splitlines()[0] == "**WGAN**, seed 7"
    assert numbers(page) == {}
    assert "![samples]" not in page
    assert what(page)["loss"] == "wasserstein"
    finished = run_page(made(result(LAST), result(BEST, "best")))
    assert "![samples](get-artifact?path=samples.png&run_uuid=abc123)" in finished


def test_links() -> None:
    links = dict(re.findall(r"(?<!!)\[([^]]*)\]\(([^)]*)\)", run_page(made())))
    artifacts = "#/experiments/4/runs/abc123/artifacts"
    assert links == {
        "configuration": f"{artifacts}/config/resolved.yaml",
        "samples": f"{artifacts}/samples.png",
        "protocols and all numbers": f"{artifacts}/evaluation",
    }
    with_report = dict(re.findall(r"(?<!!)\[([^]]*)\]\(([^)]*)\)", run_page(made(), "fed987")))
    assert with_report == links | {"report": "#/experiments/4/runs/fed987/artifacts/report/report.html"}


HOSTILE_FIELDS = config(title=HOSTILE, loss=HOSTILE, optimizer={"name": HOSTILE, "lr": HOSTILE}, batch_size=HOSTILE)
HOSTILE_RESULT = result(LAST, flags=[HOSTILE], protocol={"extractor": HOSTILE, "num_samples": HOSTILE})
HOSTILE_TAGS = {CONFIG: json.dumps(HOSTILE_FIELDS)} | dict.fromkeys(
    ["variant", "seed", "dataset", "dataset_digest", "num_images", "device", "health"], HOSTILE
)


def test_texts_of_the_store_are_shown_as_they_are() -> None:
    page = run_page(made(HOSTILE_RESULT, **HOSTILE_TAGS, changed="loss optimizer.lr"))
    assert page.splitlines()[0] == (
        f"**{SHOWN}**, seed {SHOWN} (loss={SHOWN}, optimizer.lr={SHOWN}): `fd_x` 12.3 ({SHOWN})"
    )
    assert f"{SHOWN}, {SHOWN} samples, protocol" in page
    plain = run_page(made(result(LAST), changed="loss optimizer.lr"))
    assert [len(line) for line in cells(page)] == [len(line) for line in cells(plain)]
    assert len(page.splitlines()) == len(plain.splitlines())
    assert "<" not in page


@pytest.mark.parametrize("name", [f"fd_{HOSTILE}", f"precision_{HOSTILE}"])
def test_names_of_metrics_leave_the_table_whole(name: str) -> None:
    page = run_page(made(result({name: 1.0})))
    assert [len(line) for line in cells(page)] == [3] * 2 + [2] * 10
    assert len(page.splitlines()) == len(run_page(made(result({"precision_x": 1.0}))).splitlines())


DAMAGED = ["", "no json", "[]", "{}", "7", '"text"', "null", "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_configuration_is_left_out(text: str) -> None:
    page = run_page(made(result(LAST), **{CONFIG: text, "changed": "loss"}))
    assert page.splitlines()[0] == "**wgan-s7**, seed 7: `fd_x` 12.3"
    assert what(page)["variant"] == "wgan"
    assert what(page)["loss"] == "None"


@pytest.mark.parametrize("optimizer", [None, "adam", 7, [], ["adam"], True])
def test_an_optimizer_that_is_no_group_of_fields_is_left_out(optimizer: object) -> None:
    page = run_page(made(result(LAST), **{CONFIG: json.dumps(config(optimizer=optimizer))}))
    assert page.splitlines()[0] == "**WGAN**, seed 7: `fd_x` 12.3"
    assert what(page)["optimizer"] == "None, lr None"


CHANGES: list[dict[str, Any]] = [
    {"metrics": {"fd_x": "x"}},
    {"metrics": {"fd_x": None}},
    {"metrics": {"fd_x": 10**400}},  # JSON has it, no float is as large
    {"num_measured": math.inf},
    {"num_measured": "many"},
    {"flags": None},
    {"sampling_spread": [1]},
    {"protocol": "abc"},
]


@pytest.mark.parametrize(
    "text",
    [
        *DAMAGED,
        '{"protocol_hash": "p", "protocol": 1}',
        '{"protocol_hash": "p", "protocol": {}, "result": []}',
        *(text for each in CHANGES for text in result(LAST, protocol_hash="cccc3333", **each).values()),
    ],
    ids=range(len(DAMAGED) + 2 + len(CHANGES)),
)
def test_a_damaged_result_leaves_a_page_without_numbers(text: str) -> None:
    page = run_page(made(result(LAST), **{f"{EVALUATION}y.cccc3333.last": text}))
    assert page.splitlines()[0] == "**WGAN**, seed 7"
    assert numbers(page) == {}
    assert what(page)["loss"] == "wasserstein"
    assert "![samples]" in page


def test_a_run_without_tags_has_a_page() -> None:
    page = run_page(Run("abc123", "4", "shell", "FINISHED", {}, {}, {}, 0))
    assert page.splitlines()[0] == "**shell**, seed ?"
    assert what(page)["health"] == "nothing to report"
