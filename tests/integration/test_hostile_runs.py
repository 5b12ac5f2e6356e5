"""Runs that somebody renamed, ids that are paths, and artifacts that somebody replaced: one line, nothing elsewhere."""

import csv
import json
import pickle
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from gan.errors import UserError
from gan.sampling import save_generator
from gan.state import build
from pipeline.cli import main
from pipeline.config import load_experiment
from pipeline.evaluate import evaluate
from pipeline.measuring import Options
from pipeline.prepare import prepare
from pipeline.publish import BEST_GENERATOR, GENERATOR
from pipeline.report import report
from pipeline.sample import sample
from pipeline.tracking import ENVIRONMENTS, EVALUATION, SAMPLES_FILE, Store, connect
from pipeline.workspace import Workspace
from tests.unit.report.made import honest

CPU = torch.device("cpu")
SCRIPT = "<script>alert(1)</script>"
HOSTILE = [
    "../../../up", "/etc/passwd", "a/b", "..", "-rf", SCRIPT, "two\nlines\x1b[31m\x07", "\N{GRINNING FACE}",
    "%2e%2e%2f", "\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe", "x" * 5000, "' or '1'='1", '"; --',
]  # fmt: skip


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder `here` to work in, with a store, and a dataset beside the folder that is nobody's business."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "here").mkdir()
    prepare(name="outside", num_images=8, root=folder, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "here")
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'here' / 'mlflow.db'}")
        connect()
        yield folder


@pytest.fixture
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(root / "here")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'here' / 'mlflow.db'}")
    return connect()


@pytest.fixture(scope="module")
def trained(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the id of a run with a generator, as a training leaves it."""
    store, config = connect(), load_experiment("dcgan")
    file = tmp_path_factory.mktemp("generator") / Path(GENERATOR).name
    save_generator(file, config, 5, build(config, 0, CPU).generator)
    tags = honest("dcgan") | {"dataset": "tiny", "fingerprint": "f"}
    with store.open_run(name="dcgan-s0", tags=tags) as run:
        run.log_file(file, str(Path(GENERATOR).parent))
    return run.run_id


def files(root: Path) -> set[Path]:
    """Return all files but the store's own."""
    kept = {path for path in root.rglob("*") if path.is_file() and "mlruns" not in path.parts}
    return {path for path in kept if not path.name.startswith("mlflow.db")}


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run the command line in this process; return exit status and errors."""
    monkeypatch.setattr(sys, "argv", ["pipeline", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0), capsys.readouterr().err


def assert_refused(status: int, errors: str) -> None:
    assert status in (1, 2), errors
    lines = [line for line in errors.split("\n") if line]
    assert len(lines) == 1, errors
    assert lines[0].isprintable(), errors
    assert lines[0].startswith("Error: ")
    assert len(lines[0]) < 2100


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "command",
    [
        ["sample", "--run"], ["evaluate", "--run"], ["report", "--run"], ["evaluate", "--variant"],
        ["evaluate", "--real"], ["train", "--variant"], ["train", "--variant", "dcgan", "--data"], ["show"],
        ["run"], ["run", "demo", "--data"], ["train", "--variant", "dcgan", "--set"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_options_that_lead_elsewhere(
    command: list[str], text: str, root: Path, store: Store, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = files(root)
    given = [f"{command[-1]}={text}"] if command[-1].startswith("--") else ["--", text]
    assert_refused(*run(monkeypatch, capsys, *command[:-1], *(given if len(given) == 1 else [command[-1], *given])))
    assert files(root) == before


@pytest.mark.parametrize("command", [["sample", "--run"], ["evaluate", "--run"], ["report", "--compare", "a"]])
def test_empty_options(
    command: list[str], root: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(*run(monkeypatch, capsys, *command, ""))


@pytest.mark.parametrize("name", ["../outside", "x/../../outside", "", ".", "..", "../here/data"])
@pytest.mark.parametrize("command", [["train", "--variant", "dcgan", "--data"], ["evaluate", "--real"]], ids=" ".join)
def test_a_dataset_is_none_of_another_folder(
    command: list[str], name: str, root: Path, store: Store, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Although there is one there."""
    assert (root / "outside" / "manifest.json").is_file()
    status, errors = run(monkeypatch, capsys, *command[:-1], f"{command[-1]}={name}")
    assert_refused(status, errors)


@pytest.mark.parametrize("name", [each for each in HOSTILE if each])
def test_pictures_of_a_renamed_run_stay_in_their_folder(name: str, trained: str, root: Path, store: Store) -> None:
    store.client.set_tag(trained, "mlflow.runName", name)
    before, target = files(root), root / "here" / "pictures"
    drawn = sample(trained, store=store, num=1, directory=target)
    made = files(root) - before
    assert made == set(drawn.files)
    for file in made:
        assert file.parent == target
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*\.png", file.name)
        assert len(file.name) < 200
        file.unlink()
    assert store.get(trained).name.isprintable()
    assert len(store.get(trained).name) <= 250


def test_the_dataset_of_a_run_is_a_name(trained: str, root: Path, store: Store) -> None:
    store.client.set_tag(trained, "dataset", "../../outside")
    with pytest.raises(UserError, match=r"\.\./\.\./outside"):
        evaluate(trained, Options(num_samples=2), store=store, workspace=Workspace())
    store.client.set_tag(trained, "dataset", "tiny")


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_a_generator_that_was_replaced_by_a_payload_is_not_run(save, root: Path, store: Store, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    marker = tmp_path / "written"
    dataset = prepare(name="tiny", num_images=8, root=tmp_path / "data", progress=False)
    trained_on = {"dataset": "tiny", "dataset_digest": dataset.digest}
    workspace, options = Workspace(datasets=tmp_path / "data"), Options(num_samples=2, device="cpu")
    for artifact in (GENERATOR, BEST_GENERATOR):
        file = tmp_path / Path(artifact).name
        save({"format": 1, "step": 1, "config": {}, "weights": Payload(marker)}, file)
        tags = honest("wgan", seed="7") | trained_on | {"best_step": "3"}
        with store.open_run(name="payload", tags=tags) as run:
            run.log_file(file, str(Path(artifact).parent))
            run.log_file(file, str(Path(GENERATOR).parent)) if artifact != GENERATOR else None
        for act in (
            lambda run_id=run.run_id: sample(run_id, store=store, num=1, directory=tmp_path),
            lambda run_id=run.run_id: evaluate(run_id, options, store=store, workspace=workspace),
        ):
            with pytest.raises(UserError, match=r"\.pt: (is damaged|does not exist)|has no artifact") as refused:
                act()
            assert str(refused.value).isprintable()
        store.client.delete_run(run.run_id)
    assert not marker.exists()


class Seen(HTMLParser):
    """What a browser would do with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_report_shows_hostile_texts_as_they_are(root: Path, store: Store, tmp_path: Path) -> None:
    formula, link = "=cmd|' /C calc'!A0", "[click](javascript:alert(1))"
    protocol = {"dataset": link, "dataset_digest": "d", "num_samples": 2, "num_reference": 2, "extractor": SCRIPT,
                "=1+1": "@SUM(1)"}  # fmt: skip
    result = {"checkpoint": "last", "step": 1, "num_measured": 2, "metrics": {"fid": -1.5, "=m": 2.0},
              "sampling_spread": {}, "estimator_error": {}, "flags": [f"\x1b]0;{SCRIPT}"]}  # fmt: skip
    content = {"protocol_hash": "abcd1234", "protocol": protocol, "result": result}
    escaping = content | {"protocol_hash": "../../../../escaped"}
    image = f'"><img src=x onerror=alert(1)>{SCRIPT}'
    ids = []
    for variant, evaluation in ((formula, content), (image, content), ("x", escaping)):
        tags = honest(variant) | {"dataset": link, "device": f"\x1b[31m{SCRIPT}"}
        tags |= {"fingerprint": variant, f"{EVALUATION}x.h.last": json.dumps(evaluation)}
        tags |= {ENVIRONMENTS: json.dumps([{SCRIPT: link, "device": "two\nlines\x1b[31m", "python": formula}])}
        with store.open_run(name=SCRIPT, tags=tags) as run:
            ids.append(run.run_id)
            run.log_image(np.zeros((4, 4, 3), np.uint8), SAMPLES_FILE)
    before = files(root)
    done = report(store=store, directory=tmp_path / "reports", run_ids=ids[:2])
    assert files(root) == before
    page = Seen()
    html = (tmp_path / "reports" / "report.html").read_text()
    page.feed(html)
    assert not page.tags & {"script", "iframe", "object", "embed", "base", "form"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("href", "src", "action", "xlink:href")]
    assert all(re.match(r"#|data:", each) for each in links)
    assert any(SCRIPT in text for text in page.texts)
    assert "default-src 'none'" in html

    markdown = done.markdown.read_text()
    assert "<script" not in markdown
    assert "](javascript:" not in re.sub(r"`[^`]*`", "", markdown).replace(r"\]", ""), "in commands it is code, no link"
    assert all(line.isprintable() for line in done.text.split("\n"))

    for file in (tmp_path / "reports").glob("*.csv"):
        with file.open(newline="") as lines:
            cells = [cell for row in csv.reader(lines) for cell in row]
        assert not [cell for cell in cells if re.match(r"\s*[=+@]", cell)], file
    rows = (tmp_path / "reports" / "table-abcd1234.csv").read_text()
    assert "'=cmd" in rows
    assert "-1.5" in rows
    assert "'-1.5" not in rows

    with pytest.raises(UserError, match="is not a result of `pipeline evaluate`"):
        report(store=store, directory=tmp_path / "reports", run_ids=ids)
    assert files(root) == before
    assert not list(tmp_path.rglob("*escaped*"))
    for run_id in ids:
        store.client.delete_run(run_id)
