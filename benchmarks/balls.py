"""How many real images the precision of a generator rests on, and how much is left without the widest of their balls.

    python benchmarks/balls.py RUN_ID...     # in the folder of a store; --picture FILE shows those real images

Precision is the share of generated images within the ball of any real image, which reaches to the third nearest other
real image. A real image that is unlike all others has a wide one: noise can lie in it. A row is one generator, the last
one other real images: precision, how many balls hold an image at all, the share that lies in the one which holds most,
that ball's place among the widest of all, and the precision without the widest hundredth of the balls.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from gan.errors import UserError
from gan.files import write_atomic
from gan.sampling import TrainedGenerator
from pipeline.data.dataset import load_dataset
from pipeline.data.halves import split
from pipeline.defaults import DEFAULT_EXTRACTOR
from pipeline.images import grid
from pipeline.measuring import BEST, LAST, SAMPLING_SEED, Measuring, Options
from pipeline.metrics.extractors import Features, extract_features
from pipeline.metrics.manifold import neighbours
from pipeline.metrics.measures import K_PRECISION
from pipeline.metrics.reference import image_batches
from pipeline.publish import BEST_GENERATOR, BEST_STEP
from pipeline.sample import load_trained, require_trained
from pipeline.tracking import Run, Store, connect
from pipeline.workspace import Workspace

CPU = torch.device("cpu")
WIDEST = 0.01
NUM_SHOWN = 8


@dataclass(frozen=True)
class Balls:
    """The balls of N real images, radii [N], and which of M generated images lie in which, inside [N, M]."""

    radii: NDArray[np.float64]
    inside: NDArray[np.bool_]

    @property
    def held(self) -> NDArray[np.int64]:
        """How many generated images each ball holds."""
        counts: NDArray[np.int64] = self.inside.sum(axis=1)
        return counts

    @property
    def fullest(self) -> NDArray[np.int64]:
        """The balls, the one that holds most images first."""
        return np.argsort(-self.held, kind="stable")

    @property
    def widest(self) -> NDArray[np.int64]:
        """The balls, the widest first."""
        return np.argsort(-self.radii, kind="stable")

    def precision(self, without: int = 0) -> float:
        """Return the share of images in any ball, without some of the widest."""
        return float(self.inside[self.widest[without:]].any(axis=0).mean())


@click.command(help=__doc__)
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@click.option("--extractor", default=DEFAULT_EXTRACTOR, show_default=True)
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--reference", default=5120, show_default=True, type=click.IntRange(10), help="Real images.")
@click.option("--num", default=1024, show_default=True, type=click.IntRange(1), help="Images of each generator.")
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="PNG: a row of real images each.")
def main(
    run_ids: Sequence[str], extractor: str, weights: Path | None, reference: int, num: int, picture: Path | None
) -> None:
    """Print a row for each generator, as markdown."""
    try:
        store = connect()
        runs = [store.get(run_id) for run_id in run_ids]
        measuring = measuring_of(runs, Options(reference, extractor, weights, device="cpu"))
        rows, shown = [], []
        for name, fake in generated(runs, store, measuring, num):
            balls = balls_of(measuring.real, fake)
            rows.append({"generator": name, **row_of(balls)})
            shown.append(pictures(measuring, balls))
    except UserError as error:
        raise click.ClickException(str(error)) from None
    click.echo(pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True))
    if picture is not None:
        write_atomic(picture, Image.fromarray(grid(torch.cat(shown), NUM_SHOWN)).save)


def measuring_of(runs: Sequence[Run], options: Options) -> Measuring:
    """Return what the runs are measured against. UserError for runs that are no trainings on one dataset."""
    for run in runs:
        require_trained(run)
    dataset = load_dataset(runs[0].tags.get("dataset", ""), Workspace().data)
    if any(run.tags.get("dataset_digest") != dataset.digest for run in runs):
        raise UserError(f"RUN_ID: all must be trainings on dataset '{dataset.name}' as it is. Give those alone.")
    return Measuring(dataset, options, Workspace().cache, CPU)


def generated(runs: Sequence[Run], store: Store, measuring: Measuring, num: int) -> Iterator[tuple[str, Features]]:
    """Yield name and features of the last generator of each run, and of its best if that is another; real images."""
    for run in runs:
        last = load_trained(run, store, CPU)
        yield features_of(f"{named(run)}, {LAST}", last, measuring, num)
        if run.tags.get(BEST_STEP, str(last.step)) != str(last.step):
            best = load_trained(run, store, CPU, BEST_GENERATOR)
            yield features_of(f"{named(run)}, {BEST}", best, measuring, num)
    images = measuring.dataset.images
    chosen = image_batches(images, np.sort(split(len(images)).other[:num]))
    yield "real images", extract_features(measuring.network, chosen, num_images=num, description="real", progress=True)


def named(run: Run) -> str:
    """Return what a training is called, with what was changed in its configuration."""
    return f"{run.name} {run.tags.get('overrides', '')}".rstrip()


def features_of(name: str, trained: TrainedGenerator, measuring: Measuring, num: int) -> tuple[str, Features]:
    """Return a generator's name and the features [num, D] of its images, the first of those that are evaluated."""
    title = f"{name} (step {trained.step:,})"
    images = trained.sample(seed=SAMPLING_SEED, num=num, device=CPU)
    return title, extract_features(measuring.network, images, num_images=num, description=title, progress=True)


def balls_of(real: Features, fake: Features) -> Balls:
    """Return which of fake [M, D] lie in the balls of real [N, D]; edges are inside."""
    radii = neighbours(real, real, num=K_PRECISION, leave_out_self=True)[0][:, -1].astype(np.float64)
    x, y = (torch.from_numpy(each - real.mean(axis=0)).double() for each in (real, fake))
    return Balls(radii, torch.cdist(x, y).numpy() <= radii[:, None])


def row_of(balls: Balls) -> dict[str, str | int]:
    """Return a line of the table."""
    fullest = balls.fullest[0]
    place = int(np.flatnonzero(balls.widest == fullest)[0]) + 1
    without = round(WIDEST * len(balls.radii))
    return {
        "precision": f"{balls.precision():.3f}",
        f"balls of {len(balls.radii):,} that hold any": int((balls.held > 0).sum()),
        "share in the fullest": f"{balls.held[fullest] / balls.inside.shape[1]:.3f}",
        "its place among the widest": place if balls.held[fullest] else "-",
        f"precision without the {without} widest": f"{balls.precision(without):.3f}",
    }


def pictures(measuring: Measuring, balls: Balls) -> Tensor:
    """Return the real images with the fullest balls, uint8 [NUM_SHOWN, 3, H, W]; white where no more hold any."""
    fullest = balls.fullest[:NUM_SHOWN]
    images = measuring.dataset.images[measuring.indices[fullest]]
    images[balls.held[fullest] == 0] = 255
    return torch.from_numpy(images).permute(0, 3, 1, 2)


if __name__ == "__main__":
    main()
