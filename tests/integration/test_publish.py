"""A suite's results for a repository: only its runs, what is missing is said, no image of the dataset."""

import csv
import json
import re
from pathlib import Path

import pytest

from docs.results import block, with_results
from tests.conftest import ROOT, run_pipeline

SUITE = """
title: A short suite
claims: own.yaml
dataset: {name: tiny, sources: [avatars], num_images: 24}
seeds: [0, 1]
evaluation: {extractors: [efficientnet_lite0], num_samples: 8, every_epochs: 0.2, curve_samples: 8}
set: {batch_size: 4, max_steps: 3}
cells:
  - variant: dcgan
  - variant: wgan
    set: {optimizer.lr: 1e-3}
"""
CLAIMS = """
claims:
  - id: mine
    text: A claim of this suite alone.
    rule: {name: exceeds, measure: worst_rise, row: {variant: dcgan}, limit: 0.5}
    unseen: Nothing.
"""
DATASET_PICTURES = "closest-"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which one seed of a suite ran, and a training that is not of it."""
    folder = tmp_path_factory.mktemp("publish")
    (folder / "short.yaml").write_text(SUITE)
    (folder / "own.yaml").write_text(CLAIMS)
    run_pipeline("run", "short.yaml", "--seed", "0", cwd=folder)
    run_pipeline("train", "--variant", "dcgan", "--data", "tiny", "--set", "batch_size=4", "--set", "max_steps=2",
                 "--evaluate-every", "0", cwd=folder)  # fmt: skip
    return folder


def test_a_suite_is_published(folder: Path) -> None:
    assert (folder / "reports" / "report.html").exists()
    done = run_pipeline("report", "--suite", "short.yaml", "--publish", cwd=folder)
    results = folder / "experiments" / "results" / "short"
    assert "experiments/results/short/report.md" in done.stdout

    found = json.loads((results / "results.json").read_text())
    assert {(run["row"].split(" ")[0], run["seed"]) for run in found["runs"]} == {("dcgan", "0"), ("wgan", "0")}
    ids = {run["run_id"] for run in found["runs"]}
    (place,) = found["environments"].values()
    assert set(place["runs"]) == ids

    with (results / "curves.csv").open(newline="") as file:
        points = list(csv.DictReader(file))
    assert {point["run_id"] for point in points} == ids
    assert {point["metric"] for point in points} == {"fd_efficientnet_lite0", "kd_efficientnet_lite0"}
    assert len(points) == len({(p["run_id"], p["metric"], p["step"]) for p in points})
    assert {point["step"] for point in points} == {"0", "1", "2", "3"}

    markdown = (results / "report.md").read_text()
    assert "**A short suite** (suite `short`) on tiny." in markdown
    assert "2 of 4 trainings, dcgan of seed 1, wgan optimizer.lr=0.001 of seed 1" in markdown.replace("\\", "")
    assert re.search(r"`pipeline run short.yaml --data tiny --precision (fp32|bf16)`", markdown)
    assert "pipeline report --suite short.yaml --data tiny --publish" in markdown
    assert place["environment"]["processor"] in markdown.replace("\\", "")

    assert "A claim of this suite alone." in markdown
    assert "DCGAN after 20 epochs" not in markdown
    assert "A claim of this suite alone." not in (folder / "reports" / "report.md").read_text()

    files = {path.name for path in results.rglob("*") if path.is_file()}
    assert "report.html" not in files
    assert not [name for name in files if name.startswith(DATASET_PICTURES)]
    assert "same-latents.png" in files
    assert str(folder) not in "".join(path.read_text() for path in results.glob("*.*") if path.suffix != ".png")


def test_published_again_is_the_same(folder: Path) -> None:
    results = folder / "experiments" / "results" / "short"
    run_pipeline("report", "--suite", "short.yaml", "--publish", cwd=folder)
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    run_pipeline("report", "--suite", "short.yaml", "--publish", cwd=folder)
    assert before == {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}


def test_the_readme_shows_the_tables_and_two_pictures(folder: Path) -> None:
    run_pipeline("report", "--suite", "short.yaml", "--publish", cwd=folder)
    results = json.loads((folder / "experiments" / "results" / "short" / "results.json").read_text())
    measured = next(run["run_id"] for run in results["runs"] if run["row"].startswith("dcgan"))
    run_pipeline("evaluate", "--run", measured, "--num-samples", "9", cwd=folder)
    run_pipeline("report", "--suite", "short.yaml", "--publish", cwd=folder)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    made = with_results(readme, "short", folder)
    assert made.startswith(readme.partition("<!-- results: begin")[0])
    assert made.endswith(readme.partition("<!-- results: end -->")[2])
    (folder / "README.md").write_text(made)
    assert with_results(made, "short", folder) == made
    shown = block("short", folder)
    assert "**A short suite** (suite `short`) on tiny." in shown
    assert "Not finished: 2 of 4 trainings" in shown
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    assert sorted(row.split(" ")[1] for row in rows[2:5]) == ["dcgan", "real", "wgan"]
    assert "device" not in rows[0]
    (again,) = (number for number, row in enumerate(rows[1:], 1) if row.startswith("| variant"))
    assert shown.count("(protocol `") == 2
    assert "None of these distances is FID" in shown
    assert [("FD last ↓" in rows[at], "images seen" in rows[at]) for at in (0, again)] == [(True, True), (True, False)]
    assert shown.index(rows[0]) < shown.index("<img ") < shown.rindex(rows[again])
    for picture in ("images/same-latents.png", "images/curves-0-fd_efficientnet_lite0.png"):
        assert f"experiments/results/short/{picture}" in shown
        assert (folder / "experiments" / "results" / "short" / picture).exists()


def test_the_readme_warns_only_where_no_distance_is_fid(tmp_path: Path) -> None:
    published = ROOT / "experiments" / "results" / "reports_tenth" / "report.md"
    report = tmp_path / "experiments" / "results" / "made" / "report.md"
    report.parent.mkdir(parents=True)
    for column, warns in (("FD last", True), ("FID last", False)):
        report.write_text(published.read_text(encoding="utf-8").replace("FD last", column), encoding="utf-8")
        assert ("None of these distances is FID" in block("made", tmp_path)) == warns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--publish"], "--publish: goes with --suite SUITE"),
        (["--data", "tiny"], "--data: goes with --suite SUITE"),
        (["--suite", "short.yaml", "--run", "x"], "--suite and --run"),
        (["--suite", "shrt"], "must be one of the suites"),
        (["--suite", "short.yaml", "--data", "other"], "has no training of it on 'other'"),
        (["--suite", "demo"], "has no training of it on 'avatars-demo'"),
    ],
)
def test_what_cannot_be_published_is_said(folder: Path, arguments: list[str], message: str) -> None:
    done = run_pipeline("report", *arguments, cwd=folder, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
