"""What a suite left in a folder, compared with what it left in another."""

import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

SECONDS = re.compile(r"(^|[_/ ])seconds($|[_/])|images_per_second")  # names of what depends on the time it took
DRAWN_OVER_SECONDS = re.compile(r"curves-.*\.png")
# content: of a report, the digest of its files, which have ids and seconds in them. checkpoints_at: which folder.
UNSTABLE_TAGS = ("content", "checkpoints_at")
MOMENT = re.compile(r"\+timestamp\+\d+\+[0-9a-f-]{36}")  # in the names of grids


def differences(expected: Path, found: Path) -> Iterator[str]:
    """Yield in what two folders in which the suite ended differ.

    Compared: the names of all files (half-written ones, and what belongs to runs, models and pictures that should not
    be there, would be more of them); of results.json and the CSV files every value; of pictures every byte; of
    generators every weight; of the tracking store all runs with their status, tags, parameters and every point of every
    curve, and all models. Left out: what a clock or a random identifier says, that is ids (they are replaced by names),
    moments, durations in seconds, and figures over seconds (DRAWN_OVER_SECONDS). report.md, report.html and tables.tex
    are written from what results.json holds.
    """
    sides = [Side(folder) for folder in (expected, found)]
    for read in (Side.files, Side.runs, Side.models, Side.results, Side.pictures, Side.weights):
        yield from (f"{read.__name__}: {line}" for line in compared(read(sides[0]), read(sides[1])))


def compared(expected: Any, found: Any, name: str = "") -> Iterator[str]:
    """Yield where two nested values differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys(), key=str):
            if key not in found or key not in expected:
                yield f"{name}/{key} is only in the {'undisturbed' if key in expected else 'killed'} one"
            else:
                yield from compared(expected[key], found[key], f"{name}/{key}")
    elif isinstance(expected, torch.Tensor) and isinstance(found, torch.Tensor):
        if not torch.equal(expected, found):
            yield f"{name}: other values"
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, pair in enumerate(zip(expected, found, strict=True)):
            yield from compared(*pair, f"{name}[{number}]")
    elif repr(expected) != repr(found):  # NaN is like itself
        yield f"{name}: {repr(expected)[:200]} undisturbed, {repr(found)[:200]} killed"


class Side:
    """What a suite left in a folder, under names instead of ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        self.experiments = [each.experiment_id for each in self.client.search_experiments()]
        self.all_runs = self.client.search_runs(self.experiments, max_results=1000)
        self.names = {run.info.run_id: str(run.info.run_name) for run in self.all_runs}
        self.all_models = self.client.search_logged_models(self.experiments)
        self.names |= {each.model_id: f"{each.name} of {self.named(each.source_run_id)}" for each in self.all_models}

    def named(self, text: object) -> str:
        """Replace ids, whole or as the first eight characters, by names."""
        shown = str(text).replace(str(self.folder), "")
        for identifier, name in self.names.items():
            shown = shown.replace(identifier, name).replace(identifier[:8], name)
        return MOMENT.sub("", shown)

    def files(self) -> dict[str, int]:
        """Return how many files have each path."""
        paths = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return dict(Counter(self.named(path) for path in paths))

    def runs(self) -> dict[str, list[Any]]:
        """Return what the store has of each run, by name."""
        found: dict[str, list[Any]] = {}
        for run in self.all_runs:
            curves = {key: self._points(run.info.run_id, key) for key in run.data.metrics if not SECONDS.search(key)}
            tags = {key: self._stable(value) for key, value in run.data.tags.items() if key not in UNSTABLE_TAGS}
            content = {"status": run.info.status, "tags": tags, "params": dict(run.data.params), "curves": curves}
            found.setdefault(self.names[run.info.run_id], []).append(content)
        return found

    def models(self) -> dict[str, int]:
        """Return how many models there are of each name and status."""
        return dict(Counter(f"{self.names[each.model_id]}, {each.status}" for each in self.all_models))

    def results(self) -> dict[str, Any]:
        """Return the report's numbers: results.json and the CSV files, without seconds."""
        reports = self.folder / "reports"
        read: dict[str, Any] = {"results.json": self._cleaned(json.loads((reports / "results.json").read_text()))}
        for file in sorted(reports.glob("*.csv")):
            rows = csv.DictReader(self.named(file.read_text()).splitlines())
            read[file.name] = [self._cleaned(row) for row in rows]
        return read

    def pictures(self) -> dict[str, str]:
        """Return the SHA-256 of every picture but for those with seconds on an axis."""
        files = [*self.folder.rglob("*.png"), *self.folder.rglob("*.webp")]
        named = {self.named(file.relative_to(self.folder)): file for file in files}
        return {
            name: hashlib.sha256(file.read_bytes()).hexdigest()
            for name, file in named.items()
            if not DRAWN_OVER_SECONDS.fullmatch(Path(name).name)
        }

    def weights(self) -> dict[str, Any]:
        """Return the published generators and the last checkpoints, without seconds."""
        files = [*self.folder.glob("checkpoints/*/*.pt"), *self.folder.glob("mlruns/*/*/artifacts/generator/*.pt")]
        named = {self.named(file.relative_to(self.folder)): file for file in files}
        return {name: self._cleaned(torch.load(file, weights_only=True)) for name, file in named.items()}

    def _points(self, run_id: str, key: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in self.client.get_metric_history(run_id, key)]

    def _stable(self, text: str) -> Any:
        try:
            return self._cleaned(json.loads(text))
        except ValueError:
            return self.named(text)

    def _cleaned(self, value: Any) -> Any:
        """Return a nested value without durations and ids."""
        if isinstance(value, dict):
            return {self.named(k): self._cleaned(each) for k, each in value.items() if not SECONDS.search(str(k))}
        if isinstance(value, list | tuple):
            return [self._cleaned(each) for each in value if not is_over_seconds(each)]
        return self.named(value) if isinstance(value, str) else value


def is_over_seconds(value: Any) -> bool:
    """Tell whether an entry of the report compares at equal seconds."""
    return isinstance(value, dict) and value.get("axis") == "seconds"
