"""The arithmetic of benchmarks/sizing.py, against values that are worked out by hand."""

import json
import math
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks.sizing import (
    BUSY,
    Cost,
    Pace,
    Place,
    cost_of,
    kept_bytes,
    main,
    most_gpus,
    numbers,
    read_load,
    size_of,
    train_seconds_of,
)
from gan.training import NUM_POINTS

NAMES = ("begin", "curves", "grids", "checkpoints", "signs of life", "publish", "sample and evaluate")
PARTS = {name: Cost(10.0 * 2**i, 1e6 * 2**i, 2e6 * 2**i, 0.1 * 2**i, 0.2 * 2**i) for i, name in enumerate(NAMES)}
MEASURED = Pace(300.0, 60.0, 100.0)  # 30 flushes, 2 checkpoints
PLACE = Place(gpus=8, cells_per_gpu=1, cores=2.0, bandwidth=100e6, report_seconds=0.1)
COST = Cost(requests=400.0, sent=90e6, received=10e6, server_seconds=9.0, database_seconds=1.0)
PACE = Pace(540.0, 60.0, 600.0)


def test_pace() -> None:
    assert MEASURED.seconds == 360.0
    assert MEASURED.flushes == 30
    assert MEASURED.checkpoints == 2  # after 100 and 200 s; that of the end is not needed any more
    assert MEASURED.signs_of_life == 20
    assert Pace(301.0, 0.0, 100.0).checkpoints == 3
    assert Pace(50.0, 0.0, 100.0).checkpoints == 0
    assert Pace(300.0, 0.0, 0.0).checkpoints == 0
    assert Pace(1e6, 0.0, 0.0).flushes == NUM_POINTS


def test_cost_at_the_measured_pace_is_what_was_measured() -> None:
    cost = cost_of(PARTS, MEASURED, MEASURED)
    assert cost.requests == 10 * (1 + 2 + 4 + 8 + 16 * 20 + 32 + 64)
    assert cost.sent == 1e6 * (1 + 2 + 4 + 8 + 16 * 20 + 32 + 64)
    assert cost.processor_seconds == pytest.approx(0.3 * (1 + 2 + 4 + 8 + 16 * 20 + 32 + 64))


def test_cost_of_a_longer_cell() -> None:
    longer = Pace(600.0, 60.0, 100.0)  # 30 more flushes of 80 requests each, 5 checkpoints instead of 2, 40 signs
    more = cost_of(PARTS, MEASURED, longer).requests - cost_of(PARTS, MEASURED, MEASURED).requests
    assert more == 30 * 80 + 80 * (5 / 2 - 1) + 160 * 20


def test_cost_without_checkpoints() -> None:
    none = cost_of(PARTS, MEASURED, replace(MEASURED, share_every=0.0))
    assert cost_of(PARTS, MEASURED, MEASURED).requests - none.requests == 80
    assert cost_of(PARTS, replace(MEASURED, share_every=0.0), MEASURED) == none  # what was not measured is not known


def test_checkpoints_are_not_kept() -> None:
    assert kept_bytes(PARTS) == 1e6 * (1 + 2 + 4 + 16 + 32 + 64)


def test_size_where_the_gpus_are_the_bottleneck() -> None:
    size = size_of(100, COST, 50e6, PACE, PLACE)
    assert size.hours == 13 * 600 / 3600  # 13 rounds of 8
    assert size.gpu_hours == 8 * size.hours
    assert size.report_hours == 10 / 3600
    assert size.requests_per_second == pytest.approx(100 * 400 / 7800)
    assert size.processors == pytest.approx(100 * 10 / 2 / 7800)
    assert size.network == pytest.approx(100 * 1 / 7800)
    assert size.kept_bytes == 5e9
    assert size.bottleneck == "GPUs"


def test_fewer_cells_than_gpus_take_as_long_as_one() -> None:
    assert size_of(3, COST, 0.0, PACE, PLACE).hours == 600 / 3600


def test_cells_share_gpus() -> None:
    assert size_of(100, COST, 0.0, PACE, replace(PLACE, cells_per_gpu=2)).hours == 7 * 600 / 3600


def test_bottlenecks_move() -> None:
    many = replace(PLACE, gpus=1000)
    assert size_of(10_000, COST, 0.0, PACE, many).bottleneck == "server"
    assert size_of(10_000, COST, 0.0, PACE, many).hours == 10_000 * 10 / 2 / 3600
    assert size_of(10_000, COST, 0.0, PACE, replace(many, cores=64.0)).bottleneck == "network"
    assert size_of(10_000, COST, 0.0, PACE, replace(many, cores=64.0)).hours == 10_000 * 1.0 / 3600
    wide = replace(many, cores=64.0, bandwidth=1e12)
    assert size_of(10_000, COST, 0.0, PACE, wide).bottleneck == "GPUs"
    assert size_of(10_000, COST, 0.0, PACE, replace(wide, report_seconds=1.0)).bottleneck == "report"


def test_at_the_most_gpus_a_server_is_as_busy_as_it_may_be() -> None:
    limits = most_gpus(COST, PACE, PLACE)
    assert limits["server"] == pytest.approx(BUSY * 2.0 * 600 / 10)
    assert limits["network"] == pytest.approx(BUSY * 100e6 * 600 / 100e6)
    gpus = math.floor(limits["server"])
    size = size_of(1000 * gpus, COST, 0.0, PACE, replace(PLACE, gpus=gpus))
    assert size.bottleneck == "GPUs"
    assert size.processors == pytest.approx(BUSY, rel=0.02)


def test_train_seconds_are_of_the_fastest_precision() -> None:
    rows = [
        {"variant": "dcgan", "mode": "plain", "milliseconds": 1.0},
        {"variant": "dcgan", "mode": "ours fp32", "milliseconds": 40.0},
        {"variant": "dcgan", "mode": "ours bf16", "milliseconds": 10.0},
        {"variant": "wgan", "mode": "ours bf16", "milliseconds": 5.0},
    ]
    assert train_seconds_of(rows, "dcgan", 16_020) == pytest.approx(160.2)
    with pytest.raises(click.BadParameter, match="wgan_sgd"):
        train_seconds_of(rows, "wgan_sgd", 1)


def test_numbers() -> None:
    assert numbers("1,8,64") == [1, 8, 64]


@pytest.fixture
def load(tmp_path: Path) -> Path:
    part = {"requests": 10, "sent": 1e6, "received": 0, "server_seconds": 0.1, "database_seconds": 0.0}
    content = {
        "variant": "dcgan",
        "pace": {"train_seconds": 300.0, "evaluate_seconds": 60.0, "share_every": 120.0},
        "parts": [{"part": name, "seconds": 1, "client_seconds": 1, **part} for name in NAMES],
        "levels": [],
    }
    file = tmp_path / "load.json"
    file.write_text(json.dumps(content))
    return file


def test_what_the_load_test_writes_is_read(load: Path) -> None:
    parts, pace = read_load(json.loads(load.read_text()))
    assert parts["begin"] == Cost(10, 1e6, 0, 0.1, 0.0)
    assert pace == Pace(300.0, 60.0, 120.0)


def test_the_table(load: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [str(load), "--cell-seconds", "540", "--price-per-hour", "2"])
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if line.replace(" ", "").startswith("|10,000|64|"))
    assert [cell.strip() for cell in row.split("|")[3:6]] == ["26.2", "1,675", "3,349"]  # 157 rounds of 600 s

    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps([{"variant": "dcgan", "mode": "ours bf16", "milliseconds": 1000 * 540 / 16_020}]))
    same = CliRunner().invoke(main, [str(load), "--train-step", str(steps), "--price-per-hour", "2"])
    assert same.output == result.output


@pytest.mark.parametrize("options", [[], ["--cell-seconds", "540", "--train-step", __file__]])
def test_the_seconds_of_a_cell_are_said_once(load: Path, options: list[str]) -> None:
    result = CliRunner().invoke(main, [str(load), *options])
    assert result.exit_code == 2
    assert "--cell-seconds" in result.output
