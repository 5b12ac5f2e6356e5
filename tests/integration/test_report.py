"""The report stage on a real store: two protocols, every status, duplicates, ties and hostile names."""

import contextlib
import csv
import json
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.entities import Metric
from PIL import Image

from gan.errors import UserError
from pipeline.identity import config_hash_of
from pipeline.images import grid
from pipeline.report import Written, compare, report
from pipeline.reporting.model import build_report
from pipeline.tracking import CONFIG, EVALUATION, INTERPOLATION_FILE, SAMPLES_FILE, RunWriter, Stage, Store, connect
from pipeline.tracking.runs import end_active_run

GOLDEN = Path(__file__).with_name("golden") / "report.md"  # UPDATE_GOLDEN=1 writes it anew
HOSTILE = "a|b <script>alert(1)</script>\n# *x* [l](u) `c` \\"
FACES, OTHER = "f" * 64, "0" * 64
CODE = "c" * 64
LITE = {
    "dataset": "faces", "dataset_digest": FACES, "num_reference": 1000, "num_samples": 1000, "extractor": "Lite0",
    "feature_space": "lite",
}  # fmt: skip
INCEPTION = LITE | {"num_samples": 500, "extractor": "Inception-v3 | pool3", "layer": "2048"}
COSTS = {
    "cost/generator_updates": 200.0,
    "cost/discriminator_updates": 1000.0,
    "cost/total_images": 64000.0,
    "cost/generator_parameters": 5142083.0,
    "cost/discriminator_parameters": 4316545.0,
}


@dataclass
class Library:
    """A store and the ids of its runs, by name, in the order in which they were made."""

    store: Store
    ids: dict[str, str] = field(default_factory=dict)

    def train(
        self,
        name: str,
        small: Mapping[str, float] | None = None,
        large: Mapping[str, float] | None = None,
        *,
        status: str = "FINISHED",
        seconds: float = 100.0,
        changed: Mapping[str, object] | None = None,
        label: str | None = None,
        curve: Sequence[float] = (),
        published: bool = False,
        **tags: str,
    ) -> None:
        variant, _, seed = name.removesuffix("-again").rpartition("-s")
        variant = tags.pop("variant", variant)
        images = {"dataset": "faces", "dataset_digest": FACES, "device": "cpu (2)", "health": ""} | tags
        config = {"variant": variant, "title": "T", "lr": 0.1} | dict(changed or {})
        all_tags = images | {
            "stage": Stage.TRAIN, "variant": label or variant, "seed": seed, "code_hash": CODE,
            CONFIG: json.dumps(config), "changed": " ".join(changed or {}),
            "config_hash": config_hash_of(config, images["dataset_digest"], CODE), "selection": "cccc3333",
        }  # fmt: skip
        all_tags["fingerprint"] = f"{all_tags['config_hash']}-{seed}"
        with contextlib.suppress(ZeroDivisionError), self.store.open_run(name=name, tags=all_tags) as run:
            self.ids[name] = run.run_id
            if status == "FINISHED":
                run.log_values(COSTS | {"time/train_seconds": seconds, "health/diversity": 0.5})
                self.log_curves(run, curve, seconds)
                self.log_pictures(run, published)
            run.set_tags(result("lite", LITE, small) | result("inception", INCEPTION, large))
            if status in ("FAILED", "KILLED"):
                end_active_run(status)
        if status == "RUNNING":
            self.store.client.update_run(self.ids[name], status="RUNNING")

    def log_curves(self, run: RunWriter, curve: Sequence[float], seconds: float) -> None:
        """Store a curve of distances over 1000 steps, the clock, and what the watch on the training saw."""
        steps = np.linspace(0, 1000, len(curve)).astype(int).tolist() if curve else []
        points = [("curve/fd_lite", step, value) for step, value in zip(steps, curve, strict=True)]
        points += [("time/seconds", step, seconds * step / 1000) for step in (0, 250, 500, 750, 1000)]
        points += [("health/diversity", step, step / 2000) for step in (0, 100, 1000)]
        points += [("train/loss_discriminator", step, 1 / step) for step in (100, 1000)]
        run.log_points([Metric(name, value, 1, step) for name, step, value in points])

    def log_pictures(self, run: RunWriter, published: bool) -> None:
        """Store pictures such as the train and evaluate stages do, in a colour of the run's own.

        published: such as a run brings that was exported for a repository.
        """
        colour = 10 * len(self.ids)
        images = torch.full((80, 3, 8, 8), colour, dtype=torch.uint8)
        run.log_image(grid(images[:64]), SAMPLES_FILE)
        if published:
            return
        run.log_image(grid(images, columns=10), INTERPOLATION_FILE)
        for step in (0, 1000):
            run.log_image_of_series(grid(images[:64]), f"samples~fixed_z+step+{step}+timestamp+1+u")
        run.log_image(grid(images[:32]), "evaluation/closest-pairs-lite-aaaa1111.png")

    def real(self, num_measured: int, metrics: Mapping[str, float], images: str = "real") -> None:
        tags = {
            "stage": Stage.REAL, "variant": "real", "images": images, "dataset": "faces", "dataset_digest": FACES,
        }  # fmt: skip
        if images == "jpeg75":
            tags["images_title"] = "as JPEG of quality 75"
        name = "real-faces" if images == "real" else f"real-faces-{images}"
        with self.store.open_run(name=name, tags=tags) as run:
            run.set_tags(result("lite", LITE, metrics, num_measured))
            self.ids[name] = run.run_id

    def neutral(self, text: str) -> str:
        """Replace what differs from store to store: run ids and the version."""
        for number, run_id in enumerate(self.ids.values(), start=1):
            text = text.replace(run_id, f"{number:08x}{'0' * 24}").replace(run_id[:8], f"{number:08x}")
        return text.replace(f"gan-benchmark {version('gan-benchmark')}", "gan-benchmark X.Y.Z")


def result(
    extractor: str, protocol: Mapping[str, Any], metrics: Mapping[str, float] | None, num_measured: int | None = None
) -> dict[str, str]:
    """Return the tag that the evaluate stage writes."""
    if metrics is None:
        return {}
    protocol_hash = {"lite": "aaaa1111", "inception": "bbbb2222"}[extractor]
    checkpoints = {"last": 0.0, "best": -1.0} if num_measured is None else {"real": 0.0}
    return {
        f"{EVALUATION}{extractor}.{protocol_hash}.{checkpoint}": json.dumps(
            {
                "protocol_hash": protocol_hash,
                "protocol": protocol,
                "result": {
                    "checkpoint": checkpoint,
                    "step": 100,
                    "num_measured": num_measured or protocol["num_samples"],
                    "metrics": {name: value + (shift if name[0] == "f" else 0) for name, value in metrics.items()},
                    "sampling_spread": dict.fromkeys(metrics, 0.125),
                    "estimator_error": dict.fromkeys(metrics, 0.25),
                    "flags": ["collapsed"] if metrics.get("fd_lite", 0) > 200 else [],
                },
            }
        )
        for checkpoint, shift in checkpoints.items()
    }


def lite(frechet: float, kernel: float) -> dict[str, float]:
    return {"fd_lite": frechet, "kd_lite": kernel, "recall_lite": 0.5, "density_lite": 0.25}


def inception(frechet: float, kernel: float) -> dict[str, float]:
    return {"fid": frechet, "kid": kernel}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        made = Library(connect())
        made.train("wgan-s10", lite(20.0, 0.010), inception(40.0, 0.011), seconds=300.0, curve=[90.0, 40.0, 20.0])
        made.train("dcgan-s0", lite(10.0, 0.010), inception(30.0, 0.010), curve=[80.0, 30.0, 50.0, 20.0, 10.0])
        made.train("dcgan-s0-again", lite(999.0, 9.0), inception(999.0, 9.0))
        made.train("dcgan-s1", lite(12.0, 0.012), inception(31.0, 0.012), seconds=200.0, curve=[80.0, 34.0, 12.0])
        made.train(
            "wgan-s2", lite(24.0, 0.014), inception(42.0, 0.013), seconds=300.0, device="cuda (H200)",
            curve=[90.0, 44.0, 24.0],
        )  # fmt: skip
        made.train("wgan-clip-s0", lite(21.0, -0.001), variant="wgan", changed={"weight_clip": 0.1})
        made.train("wgan_sgd-s0", lite(250.0, 0.2))
        made.train("wgan_sgd-s1", status="FAILED", health="diverged")
        made.train("wgan_sgd-s2", status="KILLED")
        made.train("wgan_sgd-s3", status="RUNNING")
        made.train("hostile-s0", status="FAILED", variant=HOSTILE, device="<b>|")
        made.train("dcgan-other-s0", variant="dcgan", dataset="other", dataset_digest=OTHER)
        made.train("swapped-s0", lite(1.0, 0.001), variant="dcgan", label="wgan")
        made.real(600, lite(0.05, 0.00002))
        made.real(600, lite(8.0, 0.009), images="jpeg75")
        yield made


@pytest.fixture(scope="module")
def made(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return report(store=library.store, directory=tmp_path_factory.mktemp("report"))


def rows(made: Written, protocol: str) -> list[dict[str, str]]:
    with (made.directory / f"table-{protocol}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_markdown_is_the_golden_file(library: Library, made: Written) -> None:
    text = library.neutral(made.markdown.read_text(encoding="utf-8"))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_means_and_spreads_are_the_closed_form(made: Written) -> None:
    best, *others, floor, jpeg = rows(made, "aaaa1111")
    assert best["row"] == "dcgan (dataset=faces)"
    assert float(best["fd_lite_mean"]) == pytest.approx(11.0, rel=1e-12)
    assert float(best["fd_lite_spread"]) == pytest.approx(math.sqrt(2.0), rel=1e-12)  # of 10 and 12, ddof 1
    assert float(best["mean_seconds"]) == 150.0
    assert [row["row"] for row in others][:3] == ["wgan (weight_clip=0.1)", "wgan", "wgan_sgd"]
    assert (others[0]["fd_lite_mean"], others[0]["fd_lite_spread"]) == ("21.0", "")
    assert float(others[1]["fd_lite_spread"]) == pytest.approx(2 * math.sqrt(2.0), rel=1e-12)
    assert (floor["row"], float(floor["fd_lite_mean"])) == ("real images", 0.05)
    assert float(best["best_fd_lite_mean"]) == pytest.approx(10.0, rel=1e-12)
    assert (jpeg["row"], jpeg["status"], float(jpeg["fd_lite_mean"])) == (
        "real images as JPEG of quality 75",
        "sanity",
        8.0,
    )


def test_tables_hold_their_own_protocol_and_dataset_only(made: Written) -> None:
    assert [table.protocol_hash for table in made.report.tables] == ["bbbb2222", "aaaa1111", None]
    assert {row["row"] for row in rows(made, "not-evaluated")} == {"dcgan (dataset=other)"}
    inception = {row["row"]: row for row in rows(made, "bbbb2222")}
    assert "dcgan (dataset=other)" not in inception
    assert inception["wgan (weight_clip=0.1)"]["status"] == "not evaluated"
    assert inception["wgan (weight_clip=0.1)"]["fid_mean"] == ""


def test_a_run_without_numbers_keeps_its_place(made: Written) -> None:
    by_row = {row["row"]: row for row in rows(made, "aaaa1111")}
    sgd = by_row["wgan_sgd"]
    assert (sgd["num_seeds"], sgd["num_runs"]) == ("1", "4")
    assert sgd["status"] == "1 collapsed, 1 diverged, 1 killed, 1 running"
    (hostile,) = (row for label, row in by_row.items() if label.startswith("a|b"))
    assert (hostile["status"], hostile["fd_lite_mean"], hostile["num_seeds"]) == ("failed", "", "0")


def test_a_second_report_has_the_same_bytes_and_is_logged_once(library: Library, made: Written, tmp_path: Path) -> None:
    again = report(store=library.store, directory=tmp_path / "new" / "folder")
    files = sorted(path.relative_to(made.directory) for path in made.directory.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again.directory) for path in again.directory.rglob("*") if path.is_file())
    for file in files:
        assert (made.directory / file).read_bytes() == (again.directory / file).read_bytes(), file
    assert again.text == made.text

    assert again.run_id == made.run_id
    assert again.run_id is not None
    run = library.store.get(again.run_id)
    assert (run.tags["stage"], run.status) == ("report", "FINISHED")
    for file in (file for file in files if not file.name.startswith(".")):
        assert library.store.read_artifact(run, f"report/{file}") == (made.directory / file).read_bytes()


def test_pictures_show_all_rows_and_are_there(library: Library, made: Written) -> None:
    text = made.markdown.read_text(encoding="utf-8")
    shown = re.findall(r"\]\((images/[^)]*)\)", text)
    assert sorted(shown) == sorted(f"images/{path.name}" for path in (made.directory / "images").iterdir())
    latents = np.asarray(Image.open(made.directory / "images" / "same-latents.png"))
    colours = [10 * (1 + list(library.ids).index(name)) for name in ("dcgan-s0", "dcgan-s1", "wgan-s2", "wgan-s10")]
    strips = [row for row in latents[:, -12, 0] if row in colours]
    assert [strips[0], *(b for a, b in pairwise(strips) if a != b)] == colours  # by row, then by seed: 2 before 10
    assert f"evolution-{library.ids['dcgan-s0'][:8]}.png" in text
    assert f"closest-aaaa1111-{library.ids['wgan-s2'][:8]}.png" in text


@pytest.fixture
def other(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Return an empty one; MLflow goes back to the common one after it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield Library(connect())
    mlflow.set_tracking_uri(library.store.uri)


def test_a_row_whose_first_seed_came_without_pictures_shows_the_next(other: Library, tmp_path: Path) -> None:
    other.train("dcgan-s0", lite(10.0, 0.010), published=True)
    other.train("dcgan-s1", lite(12.0, 0.012))
    other.train("wgan-s0", lite(20.0, 0.010), published=True)
    made = report(store=other.store, directory=tmp_path / "report")
    files = {path.name for path in (made.directory / "images").iterdir()}
    assert {name for name in files if name.startswith("evolution-")} == {f"evolution-{other.ids['dcgan-s1'][:8]}.png"}
    assert "dcgan, seed 1: the same latents during training" in made.markdown.read_text(encoding="utf-8")
    ways = np.asarray(Image.open(made.directory / "images" / "interpolations.png"))
    assert {20} == set(np.unique(ways[:, -12, 0])) & {10, 20, 30}


def test_without_training_images_no_picture_shows_any(library: Library, tmp_path: Path) -> None:
    report(store=library.store, directory=tmp_path / "all")
    report(store=library.store, directory=tmp_path / "public", training_images=False)
    everything, public = ({path.name for path in (tmp_path / name / "images").iterdir()} for name in ("all", "public"))
    assert {name for name in everything - public if name.startswith("closest-")} == everything - public != set()
    assert "closest-" not in (tmp_path / "public" / "report.md").read_text()


def test_files_that_a_later_report_does_not_write_are_removed_and_others_are_kept(
    library: Library, tmp_path: Path
) -> None:
    report(store=library.store, directory=tmp_path)
    (tmp_path / "images" / "mine.png").write_bytes(b"mine")
    (tmp_path / "table-mine.csv").write_text("mine")
    outside = tmp_path.parent / "outside"
    outside.write_text("outside")
    index = tmp_path / ".report.json"
    index.write_text(json.dumps([*json.loads(index.read_text()), "../outside", str(outside), "images/../../outside"]))
    report(store=library.store, directory=tmp_path, run_ids=[library.ids["wgan-clip-s0"]])
    assert not (tmp_path / "table-bbbb2222.csv").exists()
    assert (tmp_path / "images" / "mine.png").exists()
    assert (tmp_path / "table-mine.csv").exists()
    assert outside.exists()


def test_one_table_of_unlike_rows_is_an_error_that_names_the_fields(library: Library, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bbbb2222 and aaaa1111 differ in .*num_samples 500 vs 1000; "):
        report(store=library.store, directory=tmp_path / "r", one_table=True)
    assert not (tmp_path / "r").exists()
    report(store=library.store, directory=tmp_path / "r", run_ids=[library.ids["wgan-clip-s0"]], one_table=True)


def test_views_at_equal_effort_are_interpolated(made: Written) -> None:
    content = json.loads((made.directory / "results.json").read_text(encoding="utf-8"))
    (group,) = (each for each in content["trainings"] if each["equal_effort"])
    views = {(view["axis"], view["share"]): view for view in group["equal_effort"]["curve/fd_lite"]}
    steps = views["discriminator_updates", 0.5]
    assert steps["budget"] == 500
    assert steps["estimates"]["dcgan (dataset=faces)"]["mean"] == 42.0  # 50 at step 500, and 34
    assert steps["estimates"]["wgan"]["mean"] == 42.0
    seconds = views["seconds", 1.0]
    assert seconds["budget"] == 100  # the fastest run ended then
    assert seconds["estimates"]["dcgan (dataset=faces)"]["mean"] == (10 + 34) / 2
    assert seconds["estimates"]["wgan"] is None  # the way from its untrained generator is not measured
    assert seconds["missing"]["wgan"] == "its first measurement was at 150"
    assert views["generator_updates", 1.0]["budget"] == 200
    assert views["images", 1.0]["budget"] == 64000


def test_claims_are_decided_by_their_rules(made: Written, library: Library, tmp_path: Path) -> None:
    content = json.loads((made.directory / "results.json").read_text(encoding="utf-8"))
    verdicts = {(claim["protocol"], claim["id"]): claim["verdict"] for claim in content["claims"]}
    assert verdicts["aaaa1111", "dcgan_beats_wgan"] == "supported"
    assert verdicts["bbbb2222", "dcgan_beats_wgan"] == "supported"
    assert verdicts["aaaa1111", "wgan_catches_up"] == "undecided"
    rule = (
        "rule: {name: difference, measure: fd, left: {variant: wgan}, side: lower, right: {variant: dcgan}, margin: 0}"
    )
    paired = rule.replace("margin: 0", "margin: 0, paired: true")
    (tmp_path / "c.yaml").write_text(
        f"claims:\n  - {{id: x, text: WGAN <wins>, unseen: all, {rule}}}\n"
        f"  - {{id: y, text: Other seeds, unseen: all, {paired}}}\n"
        f"  - {{id: z, text: Its own seeds, unseen: all, {paired.replace('dcgan', 'wgan')}}}\n"
    )
    other = report(store=library.store, directory=tmp_path / "r", claims=tmp_path / "c.yaml")
    written = re.sub(" +", " ", other.markdown.read_text(encoding="utf-8"))
    assert "| WGAN &lt;wins&gt; | **contradicted** |" in written
    assert "**wgan** and **dcgan (dataset=faces)** have fewer than two seeds in common that have `fd`." in written
    assert (
        "`fd`: **wgan** 41.0 ± 1.4 (2 seeds), **wgan** 41.0 ± 1.4 (2 seeds). **wgan** minus **wgan** seed by "
        in written
    )
    assert "seed by seed is 0.0 ± 0.0;" in written


def test_a_run_whose_label_is_not_its_configuration_s_is_in_no_table(library: Library, made: Written) -> None:
    content = json.loads((made.directory / "results.json").read_text(encoding="utf-8"))
    (refused,) = content["refused"]
    assert refused["run_id"] == library.ids["swapped-s0"]
    assert refused["reason"] == "it is called wgan, its configuration dcgan."
    for table in ("aaaa1111", "bbbb2222", "not-evaluated"):
        assert refused["run_id"] not in (made.directory / f"runs-{table}.csv").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_sets_the_tables(made: Written, tmp_path: Path) -> None:
    """Hostile names too."""
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\small\input{tables}\end{document}"
    (tmp_path / "main.tex").write_text(document)
    shutil.copy(made.directory / "tables.tex", tmp_path)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "main.pdf").stat().st_size > 10_000


def test_comparing_two_rows(library: Library, tmp_path: Path) -> None:
    done = compare("wgan", "dcgan (dataset=faces)", store=library.store, directory=tmp_path)
    lines = [" ".join(line.split()) for line in done.text.splitlines()]
    assert "variant wgan dcgan" in lines
    assert "fid 41.0 ± 1.4 30.5 ± 0.7 -10.5 B is better" in lines
    assert "kid 12.0 ± 1.4 11.0 ± 1.4 -1.0 tie" in lines
    assert "generator updates 200 200" in lines
    assert "lr" not in done.text.replace("wgan", "")  # equal
    first = done.markdown.read_bytes()
    compare("wgan", "dcgan (dataset=faces)", store=library.store, directory=tmp_path)
    assert done.markdown.read_bytes() == first


def test_comparing_runs(library: Library, tmp_path: Path) -> None:
    ids = [library.ids["dcgan-s0"], library.ids["dcgan-s1"][:8]]
    text = compare(*ids, store=library.store, directory=tmp_path).text
    assert "seeds" in text
    assert "one seed has no spread: unknown" in text
    unlike = compare(library.ids["dcgan-s0"], library.ids["wgan_sgd-s1"], store=library.store, directory=tmp_path).text
    assert "not measured. pipeline evaluate --run ID does it." in unlike


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wgn", "'wgn' is neither a run's id nor a row. Choose one of: "),
        ("dcgan", r"'dcgan' stands for several. Choose one of: dcgan \(dataset=faces\); dcgan \(dataset=other\)"),
    ],
)
def test_comparing_what_cannot_be_told(library: Library, tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        compare(name, "wgan_sgd", store=library.store, directory=tmp_path)


def test_text_for_the_terminal(made: Written) -> None:
    assert "30.5 ± 0.7 *" in made.text
    assert "fid: dcgan (dataset=faces) is best" in made.text
    assert "kid: dcgan (dataset=faces) has the lowest mean. It ties with wgan: their" in made.text
    assert "kd_lite: wgan (weight_clip=0.1) has the lowest mean." in made.text
    assert "**" not in made.text


def test_selected_runs_only(library: Library, tmp_path: Path) -> None:
    chosen = report(store=library.store, directory=tmp_path, run_ids=[library.ids["wgan-clip-s0"]])
    assert [row["row"] for row in rows(chosen, "aaaa1111")] == [
        "wgan",
        "real images",
        "real images as JPEG of quality 75",
    ]
    assert [table.protocol_hash for table in chosen.report.tables] == ["aaaa1111"]
    text = chosen.markdown.read_text(encoding="utf-8")
    assert r"Every run was trained with weight_clip=0.1." in text
    assert f"`pipeline report --run {library.ids['wgan-clip-s0']}`" in text
    assert "is the only row with a value" in text


def test_a_run_of_another_stage_is_refused(library: Library, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--run: '.*' \(real-faces\) is not a training run"):
        report(store=library.store, directory=tmp_path, run_ids=[library.ids["real-faces"]])


def test_a_folder_that_cannot_be_written(library: Library, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/report: cannot be written: Not a directory"):
        report(store=library.store, directory=tmp_path / "file" / "report")


def test_only_losses_that_can_saturate_have_a_curve_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    made = Library(connect())
    made.train("dcgan-s0", lite(10.0, 0.010), curve=[80.0, 10.0], changed={"loss": "bce"})
    made.train("wgan-s0", lite(20.0, 0.010), curve=[90.0, 20.0], changed={"loss": "wasserstein"})
    for run_id in made.ids.values():
        made.store.writer(run_id).log_points([Metric("health/saturation", 0.0, 1, step) for step in (100, 1000)])
    (group,) = build_report(made.store, (), ()).groups
    curves = {label.split()[0]: runs[0].curves for label, runs in group.rows.items()}
    assert "health/saturation" in curves["dcgan"]  # 0 throughout is a finding here
    assert "health/saturation" not in curves["wgan"]
    assert curves["wgan"].keys() == curves["dcgan"].keys() - {"health/saturation"}


def test_an_empty_store_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(UserError, match=r"no training in sqlite:.*`pipeline train --variant dcgan` or `make demo`"):
        report(store=connect(), directory=tmp_path / "report")
    assert not (tmp_path / "report").exists()
