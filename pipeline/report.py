"""The report stage: from the tracking store to tables, one for each protocol, and sample grids."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from gan.errors import UserError
from gan.files import storage_errors, write_atomic, write_text_atomic
from pipeline import __version__
from pipeline.reporting.frames import raw, raw_runs, written
from pipeline.reporting.labels import label
from pipeline.reporting.markdown import Picture, render
from pipeline.reporting.numbers import write_count
from pipeline.reporting.results import Configuration, clean, read_results
from pipeline.reporting.sentences import sentences
from pipeline.reporting.tables import Table, build_tables
from pipeline.tracking import Stage, Store

SAMPLES = "final/samples.png"  # as the train stage stores it


@dataclass(frozen=True)
class Report:
    """What was written. text: the tables for a terminal. run_id: the run of the tracking store that holds the files."""

    directory: Path
    markdown: Path
    tables: tuple[Table, ...]
    text: str
    run_id: str | None


def report(*, store: Store, directory: Path, run_ids: Sequence[str] | None = None) -> Report:
    """Write report.md with sample grids and CSV files, from all trainings of the store or from some of them.

    CSV: protocols.csv is the index; table-<protocol>.csv has the rows and runs-<protocol>.csv every run, unrounded.
    The same store gives the same bytes. The files are logged as a run of their own.
    Raises UserError where there is no training, an id is no training's, or the folder cannot be written.
    """
    results = read_results(store, run_ids or ())
    labels = label(results.configurations)
    tables = build_tables(results, labels)
    with storage_errors(directory):
        (directory / "images").mkdir(parents=True, exist_ok=True)
        ordered = sorted(results.configurations, key=labels.of)
        pictures = [_picture(each, labels.of(each), store, directory) for each in ordered]
        text = render(results, labels, tables, pictures, _command(run_ids or ()), f"gan-benchmark {__version__}")
        write_text_atomic(directory / "report.md", text)
        files = [directory / "report.md", *_write_csv(tables, directory)]

    with store.open_run(name="report", tags={"stage": Stage.REPORT}, description=_description(tables)) as writer:
        for file in files:
            writer.log_file(file, "report")
        for picture in pictures:
            if picture.file is not None:
                writer.log_file(directory / picture.file, "report/images")
    return Report(directory, files[0], tables, "\n\n".join(_plain(table) for table in tables), writer.run_id)


def _picture(configuration: Configuration, label: str, store: Store, directory: Path) -> Picture:
    """Copy the grid of the first seed that has one."""
    for training in configuration.trainings:
        run = training.run
        if not training.is_finished:
            continue
        name = re.sub(r"[^A-Za-z0-9]+", "-", configuration.variant).strip("-")[:40]
        file = f"images/{name}-s{re.sub('[^0-9]', '', training.seed)}-{run.run_id[:8]}.png"
        with TemporaryDirectory() as folder:
            try:
                content = store.download(run, SAMPLES, Path(folder)).read_bytes()
            except UserError:  # a run of an older version, or artifacts that were deleted
                continue
        write_atomic(directory / file, partial(_write, content))
        steps = write_count(run.metrics.get("cost/discriminator_updates"))
        return Picture(label, file, training.seed, steps, run.name)
    return Picture(label, None, "", "", "")


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _write_csv(tables: Sequence[Table], directory: Path) -> list[Path]:
    """Write the index of the protocols and, for each of them, the rows and the runs; return the files."""
    frames = {}
    index = []
    for table in tables:
        frames[f"table-{table.name}.csv"] = raw(table)
        frames[f"runs-{table.name}.csv"] = raw_runs(table)
        files = {"table": f"table-{table.name}.csv", "runs": f"runs-{table.name}.csv"}
        index.append({"protocol": table.name, **files, **table.protocol})
    frames["protocols.csv"] = pd.DataFrame(index).convert_dtypes()
    for name, frame in frames.items():
        write_text_atomic(directory / name, frame.to_csv(index=False, lineterminator="\n"))
    return [directory / name for name in frames]


def _plain(table: Table) -> str:
    """Return a table for the terminal; what is best beyond doubt has a star."""
    heading = clean(table.title) + (f" (protocol {table.protocol_hash})" if table.protocol_hash else "")
    frame = written(table, escape=clean, strong=lambda value: f"{value} *", costs=False)
    grid = frame.to_markdown(index=False, disable_numparse=True, tablefmt="simple")
    return "\n".join([heading, "", str(grid), "", *sentences(table, str, str)])


def _command(run_ids: Sequence[str]) -> str:
    return shlex.join(["pipeline", "report", *(part for run_id in run_ids for part in ("--run", run_id))])


def _description(tables: Sequence[Table]) -> str:
    titles = "; ".join(dict.fromkeys(clean(table.title) for table in tables))
    return f"Tables and sample grids: {titles[:1000]}. Read the artifact `report/report.md`."
