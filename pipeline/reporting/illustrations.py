"""The pictures of a report: samples out of the tracking store, and figures of its curves."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context

from pipeline.metrics.names import KINDS, header_of, kind_of
from pipeline.reporting import pictures, plots
from pipeline.reporting.curves import AXES, MOST_DRAWN
from pipeline.reporting.model import CURVES, Group, Report
from pipeline.reporting.results import Configuration, Training
from pipeline.reporting.tables import Table
from pipeline.tracking import INTERPOLATION_FILE, SAMPLES_FILE, Run, Store

MOST_ROWS, MOST_SEEDS = 12, 3  # of a picture
MANY_RUNS = 40  # from which on two processes draw them sooner than one
COLUMNS, PATH_LENGTH = 8, 10  # of the grids that the train stage stores, and of its interpolations
SERIES = re.compile(r"images/samples~fixed_z\+step\+(\d+)\+.*(?<!\+compressed)\.png")
CLOSEST = "evaluation/closest-pairs-"


@dataclass(frozen=True)
class Picture:
    """A picture. name: of its file, without ending. alt, caption: plain text, to be escaped."""

    name: str
    alt: str
    caption: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class Illustrations:
    """All pictures. plots: of each group. closest: by name of a table. num_left_out: rows without samples."""

    same_latents: Sequence[Picture]
    evolution: Sequence[Picture]
    interpolations: Sequence[Picture]
    closest: Mapping[str, Sequence[Picture]]
    plots: Sequence[Sequence[plots.Plot]]
    num_left_out: int


def illustrate(report: Report, store: Store, *, training_images: bool) -> Illustrations:
    """Make the pictures of a report. training_images: also those in which images of the dataset are seen.

    Artifacts that are missing or damaged are left out.
    """
    shown = [each for each in report.results.configurations if any(t.is_finished for t in each.trainings)]
    rows = {report.labels.of(each): _finished(each)[:MOST_SEEDS] for each in shown[:MOST_ROWS]}
    with ThreadPoolExecutor(2) as pool:  # decoding and encoding of pictures go on while figures are drawn
        evolution = [pool.submit(_evolution, label, trainings, store) for label, trainings in rows.items()]
        latents = pool.submit(_same_latents, rows, store)
        ways = pool.submit(_interpolations, rows, store)
        closest = {table.name: pool.submit(_closest, table, store) for table in report.tables if training_images}
        figures = _draw(report.groups)
    return Illustrations(
        same_latents=latents.result(),
        evolution=[picture for future in evolution for picture in future.result()],
        interpolations=ways.result(),
        closest={table.name: closest[table.name].result() if training_images else [] for table in report.tables},
        plots=figures,
        num_left_out=max(0, len(shown) - MOST_ROWS),
    )


def _finished(configuration: Configuration) -> list[Training]:
    return [training for training in configuration.trainings if training.is_finished]


def _picture(name: str, title: str, pixels: pictures.Pixels | None) -> list[Picture]:
    return [] if pixels is None else [Picture(name, title, title, pictures.png(pixels))]


def _cells(store: Store, run: Run, path: str, columns: int) -> pictures.Pixels | None:
    content = store.read_artifact(run, path)
    try:
        return None if content is None else pictures.cells(pictures.pixels(content), columns)
    except pictures.NotAGridError:
        return None


def _same_latents(rows: Mapping[str, Sequence[Training]], store: Store) -> list[Picture]:
    found = {
        label: {
            each.seed: images
            for each in trainings
            if (images := _cells(store, each.run, SAMPLES_FILE, COLUMNS)) is not None
        }
        for label, trainings in rows.items()
    }
    kept = {label: of_seeds for label, of_seeds in found.items() if of_seeds}
    return _picture("same-latents", "What each run makes of the same latents", pictures.same_latents(kept))


def _interpolations(rows: Mapping[str, Sequence[Training]], store: Store) -> list[Picture]:
    """Show ways from one latent to another, of the first seed of each row that has them: imported ones may not."""
    kept = {}
    for label, trainings in rows.items():
        found = (_cells(store, each.run, INTERPOLATION_FILE, PATH_LENGTH) for each in trainings)
        images = next((each for each in found if each is not None), None)
        if images is not None:
            kept[label] = images
    title = "Ways from one latent to another, one seed of each row"
    return _picture("interpolations", title, pictures.interpolations(kept, PATH_LENGTH))


def _evolution(label: str, trainings: Sequence[Training], store: Store) -> list[Picture]:
    """Show the images of the fixed latents at a few steps, of the first seed that has them."""
    for training in trainings:
        images = pictures.evolution(_grids(training.run, store))
        if images is not None:
            title = f"{label}, seed {training.seed}: the same latents during training"
            return _picture(f"evolution-{training.run.run_id[:8]}", title, images)
    return []


def _grids(run: Run, store: Store) -> dict[int, pictures.Pixels]:
    """Return the images of the fixed latents by step, at a few steps spread over a training."""
    paths = {int(m.group(1)): m.string for p in store.artifacts(run, "images") if (m := SERIES.fullmatch(p))}
    steps = pictures.spread(paths, 8) if paths else []
    found = {step: _cells(store, run, paths[step], COLUMNS) for step in steps}
    return {step: images for step, images in found.items() if images is not None}


def _closest(table: Table, store: Store) -> list[Picture]:
    """Return, for the first seed of each row, the generated images that are nearest to training images."""
    extractor = table.protocol.get("feature_space", "")
    shown = []
    for row in table.rows[:MOST_ROWS]:
        run = next((each.run for each in row.configuration.trainings if table.name in each.measured), None)
        content = None if run is None else store.read_artifact(run, f"{CLOSEST}{extractor}-{table.name}.png")
        if run is None or content is None:
            continue
        try:
            png = pictures.png(pictures.pixels(content))
        except pictures.NotAGridError:
            continue
        title = f"{row.label}: generated images and, right of each, the training image that is nearest to it"
        shown.append(Picture(f"closest-{table.name}-{run.run_id[:8]}", title, title, png))
    return shown


def _draw(groups: Sequence[Group]) -> list[list[plots.Plot]]:
    """Return the figures of each group; many runs are drawn by two processes."""
    jobs = [list(_figures(group, number)) for number, group in enumerate(groups)]
    if sum(len(runs) for group in groups for runs in group.rows.values()) < MANY_RUNS:
        drawn = [[job() for job in of_group] for of_group in jobs]
    else:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            futures = [[pool.submit(job) for job in of_group] for of_group in jobs]
            drawn = [[future.result() for future in of_group] for of_group in futures]
    return [
        [_counted(plot, group) for plot in of_group if plot is not None]
        for of_group, group in zip(drawn, groups, strict=True)
    ]


def _counted(plot: plots.Plot, group: Group) -> plots.Plot:
    """Return a figure that says of all rows how many it leaves out: of some, the dense curves were not even read."""
    return replace(plot, num_left_out=max(plot.num_left_out, len(group.rows) - MOST_DRAWN))


def _figures(group: Group, number: int) -> Iterator[Callable[[], plots.Plot | None]]:
    """Yield what draws the figures of a group: distances, losses, health."""
    for metric in group.curves:
        plain = metric.removeprefix(CURVES)
        kind = KINDS.get(kind_of(plain) or "")
        if kind is None:
            continue
        title = f"{header_of(plain)}{f' ×{kind.scale:g}' if kind.scale != 1 else ''}, {plain}"
        axes = tuple(AXES) if kind.short == "FD" else ("images",)
        name = f"curves-{number}-{plain}"
        yield partial(plots.learning_curves, group.rows, name, metric, title=title, scale=kind.scale, axes=axes)
    yield partial(plots.losses, group.rows, f"losses-{number}")
    yield partial(plots.health, group.rows, f"health-{number}")
