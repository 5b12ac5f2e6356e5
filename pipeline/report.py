"""The report stage: from the tracking store to pages, tables and pictures, all from one model."""

import hashlib
import json
import logging
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gan.files import remove_leftovers, storage_errors, write_all_atomic, write_text_atomic
from pipeline import __version__
from pipeline.reporting.champion import RULE, champions
from pipeline.reporting.claims import load_claims
from pipeline.reporting.comparison import compare_sides, find_side
from pipeline.reporting.formats import HTML, MARKDOWN, PLAIN
from pipeline.reporting.frames import written
from pipeline.reporting.illustrations import illustrate
from pipeline.reporting.labels import label
from pipeline.reporting.model import Report, build_report, require_one_table
from pipeline.reporting.plots_draw import style_of
from pipeline.reporting.reading import read_results
from pipeline.reporting.results import FINISHED, clean
from pipeline.reporting.run_page import run_page
from pipeline.reporting.sentences import sentences
from pipeline.reporting.suites import Suite
from pipeline.reporting.tables import Table
from pipeline.reporting.writing import files_of, set_document
from pipeline.tracking import Stage, Store
from pipeline.tracking.registry import register
from pipeline.tracking.runs import COLOUR, DESCRIPTION
from pipeline.tracking.tags import set_tags_of_runs
from pipeline.workspace import CLAIMS, experiments_directory, installed_experiments

INDEX = ".report.json"  # the names of the files, so that the next report can remove those that it does not write
SOFTWARE = f"gan-benchmark {__version__}"
CONTENT = "content"  # tag of a report's run: digest of its files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """A report on disk.

    html: None where it is for a repository. text: its tables for a terminal. run_id: the run of the tracking store that
    holds the files. unregistered: why no model was registered although that was asked for, "" otherwise.
    """

    report: Report
    directory: Path
    markdown: Path
    html: Path | None
    text: str
    run_id: str
    unregistered: str = ""

    @property
    def pages(self) -> Sequence[Path]:
        """What people read."""
        return [page for page in (self.markdown, self.html) if page is not None]


def report(
    *,
    store: Store,
    directory: Path,
    run_ids: Sequence[str] = (),
    suite: Suite | None = None,
    claims: Path | None = None,
    one_table: bool = False,
    training_images: bool = True,
    publish: bool = False,
    register_best: bool = False,
) -> Written:
    """Write a report on all trainings of the store, or on some of them, as Markdown, HTML, LaTeX, CSV and JSON.

    run_ids, suite: only these trainings. publish: what can lie in a public repository: no image of the dataset, and no
    report.html, which would hold all pictures once more.
    claims: a YAML file with claims and the rules that decide them, instead of the suite's or experiments/claims.yaml.
    one_table: refuse rows of different protocols. training_images: also pictures in which images of the dataset are
    seen. The same store gives the same bytes. The files are artifacts of a run of their own as well. register_best:
    register the best run's generator of each dataset, by the rule of `champion`.

    Raises UserError where there is no training, an id is no training's, the claims are not valid or the folder cannot
    be written.
    """
    asked = claims or (suite.claims if suite else None)
    made = build_report(store, run_ids, load_claims(_claims(asked)), suite)
    for run, reason in made.results.refused:
        log.warning("run %s (%s) is refused: %s", run.run_id, clean(run.name), reason)
    if one_table:
        require_one_table(made.tables)
    options = [*(suite.options if suite else []), *(["--claims", str(claims)] if claims else [])]
    options += ["--publish"] if publish else [] if training_images else ["--no-training-images"]
    pictures = illustrate(made, store, training_images=training_images and not publish)
    formats = (MARKDOWN,) if publish else (MARKDOWN, HTML)
    files = files_of(made, pictures, _command(run_ids, options), SOFTWARE, formats)
    with storage_errors(directory):
        _write(files, directory)
    run_id = _log(files, made, store, directory)
    _decorate(made, store, run_id)
    registered = _register(made, store) if register_best else []
    text = "\n\n".join([*(plain(table) for table in made.tables), *registered])
    missing = f"--register: no healthy run was measured. The rule: {RULE}" if register_best and not registered else ""
    html = None if publish else directory / "report.html"
    return Written(made, directory, directory / "report.md", html, text, run_id, missing)


@dataclass(frozen=True)
class Compared:
    """A comparison on disk, and its text for a terminal."""

    markdown: Path
    text: str


def compare(first: str, second: str, *, store: Store, directory: Path, run_ids: Sequence[str] = ()) -> Compared:
    """Write compare.md: in what two runs or rows differ. first, second: a run's id, a label or a variant.

    Raises UserError where they cannot be told, or the folder cannot be written.
    """
    results = read_results(store, run_ids)
    labels = label(results.configurations)
    sides = [find_side(each, results, labels) for each in (first, second)]
    command = _command(run_ids, ["--compare", first, second])
    markdown, text = (
        set_document(compare_sides(sides[0], sides[1], fmt, command, SOFTWARE), fmt) for fmt in (MARKDOWN, PLAIN)
    )
    with storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        write_text_atomic(directory / "compare.md", markdown)
    return Compared(directory / "compare.md", text)


def plain(table: Table) -> str:
    """Return a table for the terminal; what is best beyond doubt has a star."""
    heading = clean(table.title) + (f" (protocol {table.protocol_hash})" if table.protocol_hash else "")
    num_main = sum(metric.in_main for metric in table.metrics)
    grid = PLAIN.grid(written(table, PLAIN, costs=False), num_main + 2)
    return "\n".join([heading, "", grid, "", *sentences(table, PLAIN)])


def _command(run_ids: Sequence[str], options: Sequence[str]) -> str:
    return shlex.join(["pipeline", "report", *(part for run_id in run_ids for part in ("--run", run_id)), *options])


def _write(files: dict[str, bytes], directory: Path) -> None:
    """Write the files, all or none, then remove those of the report before that are not among them."""
    before = _names(directory / INDEX)
    (directory / "images").mkdir(parents=True, exist_ok=True)
    for folder in (directory, directory / "images"):
        remove_leftovers(folder)
    index = json.dumps(sorted(files)).encode()
    write_all_atomic({directory / name: content for name, content in {**files, INDEX: index}.items()})
    for name in before - set(files):
        (directory / name).unlink(missing_ok=True)


def _names(index: Path) -> set[str]:
    """Return the names that an index lists, but for those of files elsewhere; none where it cannot be read."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    plausible = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
    return {name for name in plausible if name.removeprefix("images/") == Path(name).name}


def _log(files: dict[str, bytes], made: Report, store: Store, directory: Path) -> str:
    """Store the files in a run of their own; an equal report stays, and is finished where a kill met it."""
    digest = hashlib.sha256(b"".join(f"{name}\0".encode() + content for name, content in sorted(files.items())))
    tags = {"stage": Stage.REPORT, CONTENT: digest.hexdigest()[:32]}
    equal = store.find(tags) if store.project_run is None else []
    if whole := [run for run in equal if run.status == FINISHED]:
        return whole[-1].run_id
    resume = equal[-1].run_id if equal else None
    with store.open_run(name="report", tags=tags, resume=resume, description=_description(made.tables)) as writer:
        writer.log_files(directory, sorted(files), "report")
    return writer.run_id


def _decorate(made: Report, store: Store, run_id: str) -> None:
    """Give the runs the colours of the report's figures, and descriptions that link to the report."""
    changed = {}
    for number, configuration in enumerate(made.results.configurations):
        for run in (training.run for training in configuration.trainings):
            wanted = {COLOUR: style_of(number).colour, DESCRIPTION: run_page(run, run_id)}
            if new := {key: value for key, value in wanted.items() if run.tags.get(key) != value}:
                changed[run.run_id] = new
    set_tags_of_runs(store.client, changed)


def _register(made: Report, store: Store) -> list[str]:
    """Register the best generator of each dataset; return what was done, in words."""
    lines = []
    for best in champions(made.tables):
        run = best.training.run
        words = (
            f"{best.label}, seed {best.training.seed} (run {run.name}): {best.metric} {best.value:.1f} under protocol "
            f"{best.protocol_hash}. Rule: {RULE}"
        )
        if best.ties:
            words += f" It ties with {', '.join(best.ties)}."
        if best.unknown:
            words += f" Nothing can be said about {', '.join(best.unknown)}: one seed has no spread."
        registered = register(
            store.client,
            name=re.sub(r"[^A-Za-z0-9._-]", "-", f"gan-{best.dataset}"),
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            description=words,
            tags={"protocol": best.protocol_hash, best.metric: f"{best.value:.6g}", "variant": best.label[:500]},
        )
        lines.append(f"{registered.uri}, version {registered.version}: {words}")
    return lines


def _description(tables: Sequence[Table]) -> str:
    titles = "; ".join(dict.fromkeys(clean(table.title) for table in tables))
    return (
        f"Report: {titles[:1000]}. Open the artifact `report/report.html` (all pictures inside) or `report/report.md`."
    )


def _claims(given: Path | None) -> Path:
    """Return the file of claims: the one that is given, else the experiments' own, else the one that is installed."""
    if given is not None:
        return given
    own = experiments_directory() / CLAIMS
    return own if own.is_file() else installed_experiments() / CLAIMS
