"""The report stage on a real store: two protocols, every status, duplicates, ties and hostile names."""

import contextlib
import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gan.errors import UserError
from pipeline.report import Report, report
from pipeline.tracking import Stage, Store, connect
from pipeline.tracking.runs import end_active_run

GOLDEN = Path(__file__).with_name("golden") / "report.md"  # UPDATE_GOLDEN=1 writes it anew
HOSTILE = "a|b <script>alert(1)</script>\n# *x* [l](u) `c` \\"
FACES, OTHER = "f" * 64, "0" * 64
LITE = {"dataset": "faces", "dataset_digest": FACES, "num_reference": 1000, "num_samples": 1000, "extractor": "Lite0"}
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
        fingerprint: str | None = None,
        params: Mapping[str, object] | None = None,
        **tags: str,
    ) -> None:
        variant, _, seed = name.removesuffix("-again").rpartition("-s")
        variant = tags.pop("variant", variant)
        defaults = {"dataset": "faces", "dataset_digest": FACES, "overrides": "", "health": "", "device": "cpu (2)"}
        all_tags = {"stage": Stage.TRAIN, "variant": variant, "seed": seed} | defaults | tags
        all_tags["config_hash"] = "-".join(["h", variant, all_tags["overrides"], all_tags["dataset"]])
        all_tags["fingerprint"] = fingerprint or f"{all_tags['config_hash']}-{seed}"
        with contextlib.suppress(ZeroDivisionError), self.store.open_run(name=name, tags=all_tags) as run:
            self.ids[name] = run.run_id
            run.log_params({"gan.dataset": all_tags["dataset"], "gan.lr": 0.1} | dict(params or {}))
            if status == "FINISHED":
                run.log_values(COSTS | {"time/train_seconds": seconds})
                run.log_image(np.full((8, 8, 3), len(self.ids), dtype=np.uint8), "final/samples")
            run.set_tags(result("lite", LITE, small) | result("inception", INCEPTION, large))
            if status in ("FAILED", "KILLED"):
                end_active_run(status)
        if status == "RUNNING":
            self.store.client.update_run(self.ids[name], status="RUNNING")

    def real(self, num_measured: int, metrics: Mapping[str, float], images: str = "real") -> None:
        tags = {
            "stage": Stage.REAL, "variant": "real", "images": images, "dataset": "faces", "dataset_digest": FACES,
        }  # fmt: skip
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
        f"evaluation.{extractor}.{protocol_hash}.{checkpoint}": json.dumps(
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
        made.train("wgan-s10", lite(20.0, 0.010), inception(40.0, 0.011), seconds=300.0)
        made.train("dcgan-s0", lite(10.0, 0.010), inception(30.0, 0.010))
        made.train("dcgan-s0-again", lite(999.0, 9.0), inception(999.0, 9.0))
        made.train("dcgan-s1", lite(12.0, 0.012), inception(31.0, 0.012), seconds=200.0)
        made.train("wgan-s2", lite(24.0, 0.014), inception(42.0, 0.013), seconds=300.0, device="cuda (H200)")
        made.train("wgan-clip-s0", lite(21.0, -0.001), variant="wgan", overrides="weight_clip=0.1")
        made.train("wgan_sgd-s0", lite(250.0, 0.2))
        made.train("wgan_sgd-s1", status="FAILED", health="diverged")
        made.train("wgan_sgd-s2", status="KILLED")
        made.train("wgan_sgd-s3", status="RUNNING")
        made.train("hostile-s0", status="FAILED", variant=HOSTILE, device="<b>|")
        made.train("dcgan-other-s0", variant="dcgan", dataset="other", dataset_digest=OTHER)
        made.real(600, lite(0.05, 0.00002))
        made.real(600, lite(8.0, 0.009), images="jpeg75")
        yield made


@pytest.fixture(scope="module")
def made(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(store=library.store, directory=tmp_path_factory.mktemp("report"))


def rows(made: Report, protocol: str) -> list[dict[str, str]]:
    with (made.directory / f"table-{protocol}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_markdown_is_the_golden_file(library: Library, made: Report) -> None:
    text = library.neutral(made.markdown.read_text(encoding="utf-8"))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_means_and_spreads_are_the_closed_form(made: Report) -> None:
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


def test_tables_hold_their_own_protocol_and_dataset_only(made: Report) -> None:
    assert [table.protocol_hash for table in made.tables] == ["bbbb2222", "aaaa1111", None]
    assert {row["row"] for row in rows(made, "not-evaluated")} == {"dcgan (dataset=other)"}
    inception = {row["row"]: row for row in rows(made, "bbbb2222")}
    assert "dcgan (dataset=other)" not in inception
    assert inception["wgan (weight_clip=0.1)"]["status"] == "not evaluated"
    assert inception["wgan (weight_clip=0.1)"]["fid_mean"] == ""


def test_a_run_without_numbers_keeps_its_place(made: Report) -> None:
    by_row = {row["row"]: row for row in rows(made, "aaaa1111")}
    sgd = by_row["wgan_sgd"]
    assert (sgd["num_seeds"], sgd["num_runs"]) == ("1", "4")
    assert sgd["status"] == "1 collapsed, 1 diverged, 1 killed, 1 running"
    (hostile,) = (row for label, row in by_row.items() if label.startswith("a|b"))
    assert (hostile["status"], hostile["fd_lite_mean"], hostile["num_seeds"]) == ("failed", "", "0")


def test_a_second_report_has_the_same_bytes_and_is_logged(library: Library, made: Report, tmp_path: Path) -> None:
    again = report(store=library.store, directory=tmp_path / "new" / "folder")
    files = sorted(path.relative_to(made.directory) for path in made.directory.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again.directory) for path in again.directory.rglob("*") if path.is_file())
    assert len([file for file in files if file.parts[0] == "images"]) == 5
    for file in files:
        assert (made.directory / file).read_bytes() == (again.directory / file).read_bytes(), file
    assert again.text == made.text

    assert again.run_id is not None
    run = library.store.get(again.run_id)
    assert (run.tags["stage"], run.status) == ("report", "FINISHED")
    for file in files:
        assert (
            library.store.download(run, f"report/{file}", tmp_path).read_bytes() == (made.directory / file).read_bytes()
        )


def test_pictures_are_the_first_seed_s(library: Library, made: Report) -> None:
    file = made.directory / "images" / f"wgan-s2-{library.ids['wgan-s2'][:8]}.png"  # 2 before 10
    assert file.read_bytes().startswith(b"\x89PNG")
    assert f"](images/{file.name})" in made.markdown.read_text(encoding="utf-8")


def test_text_for_the_terminal(made: Report) -> None:
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
    assert [table.protocol_hash for table in chosen.tables] == ["aaaa1111"]
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


def test_an_empty_store_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(UserError, match=r"no training in sqlite:.*`pipeline train --variant dcgan` or `make demo`"):
        report(store=connect(), directory=tmp_path / "report")
    assert not (tmp_path / "report").exists()
