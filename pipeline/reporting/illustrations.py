"""The pictures of a report: samples out of the tracking store, and figures of its curves."""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline.metrics.names import KINDS, header_of, kind_of
from pipeline.reporting import pictures, plots
from pipeline.reporting.curves import AXES
from pipeline.reporting.model import CURVES, Group, Report
from pipeline.reporting.results import Configuration, Training
from pipeline.reporting.tables import Table
from pipeline.tracking import FINAL_INTERPOLATION, FINAL_SAMPLES, Run, Store

MOST_ROWS, MOST_SEEDS = 12, 3  # of a picture
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
    first = {label: trainings[0] for label, trainings in rows.items()}
    with ThreadPoolExecutor(4) as pool:
        samples = dict(zip(rows, pool.map(lambda runs: _samples(runs, store), rows.values()), strict=True))
        paths = dict(zip(first, pool.map(lambda run: _interpolation(run, store), first.values()), strict=True))
        grids = dict(zip(first, pool.map(lambda run: _series(run, store), first.values()), strict=True))
        closest = {table.name: list(_closest(table, store)) if training_images else [] for table in report.tables}
    latents = pictures.same_latents({label: each for label, each in samples.items() if each})
    ways = pictures.interpolations({label: each for label, each in paths.items() if each is not None}, PATH_LENGTH)
    return Illustrations(
        same_latents=_picture("same-latents", "What each run makes of the same latents", latents),
        evolution=[
            picture
            for number, (label, images) in enumerate(grids.items())
            for picture in _picture(
                f"evolution-{number}-{first[label].run.run_id[:8]}",
                f"{label}, seed {first[label].seed}: the same latents during training",
                pictures.evolution(images),
            )
        ],
        interpolations=_picture("interpolations", "Ways from one latent to another, first seed of each row", ways),
        closest=closest,
        plots=[list(_plots(group, number)) for number, group in enumerate(report.groups)],
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


def _samples(trainings: Sequence[Training], store: Store) -> dict[str, pictures.Pixels]:
    found = {each.seed: _cells(store, each.run, f"{FINAL_SAMPLES}.png", COLUMNS) for each in trainings}
    return {seed: images for seed, images in found.items() if images is not None}


def _interpolation(training: Training, store: Store) -> pictures.Pixels | None:
    return _cells(store, training.run, f"{FINAL_INTERPOLATION}.png", PATH_LENGTH)


def _series(training: Training, store: Store) -> dict[int, pictures.Pixels]:
    """Return the images of the fixed latents, of the steps that are shown."""
    paths = {int(m.group(1)): m.string for p in store.artifacts(training.run, "images") if (m := SERIES.fullmatch(p))}
    steps = pictures.spread(paths, 8) if paths else []
    found = {step: _cells(store, training.run, paths[step], COLUMNS) for step in steps}
    return {step: images for step, images in found.items() if images is not None}


def _closest(table: Table, store: Store) -> Iterator[Picture]:
    """Yield, for the first seed of each row, the generated images that are nearest to training images."""
    extractor = table.protocol.get("feature_space", "")
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
        yield Picture(f"closest-{table.name}-{run.run_id[:8]}", title, title, png)


def _plots(group: Group, number: int) -> Iterator[plots.Plot]:
    """Yield the figures of a group: distances, losses, health."""
    for metric in group.curves:
        plain = metric.removeprefix(CURVES)
        kind = KINDS.get(kind_of(plain) or "")
        if kind is None:
            continue
        title = f"{header_of(plain)}{f' ×{kind.scale:g}' if kind.scale != 1 else ''}, {plain}"
        axes = tuple(AXES) if kind.short == "FD" else ("images",)
        name = f"curves-{number}-{plain}"
        if plot := plots.learning_curves(group.rows, name, metric, title=title, scale=kind.scale, axes=axes):
            yield plot
    for draw, name in ((plots.losses, f"losses-{number}"), (plots.health, f"health-{number}")):
        if plot := draw(group.rows, name):
            yield plot
