"""The commands that measure and compare: `pipeline evaluate` and `pipeline report`."""

from pathlib import Path

import click

from gan.errors import UserError
from pipeline.console import short_path
from pipeline.defaults import DEFAULT_EXTRACTOR, EXTRACTOR_PRECISION
from pipeline.options import (
    EXTRACTOR,
    FILE,
    PRECISION_OF_EXTRACTOR,
    SEED,
    StageCommand,
    measuring_options,
    register_option,
)
from pipeline.workspace import Workspace


@click.command(cls=StageCommand)
@click.option("--run", "run_id", metavar="ID", help="A training run.")
@click.option("--variant", metavar="NAME", help="Instead of a run: all finished runs of a variant.")
@click.option(
    "--real",
    metavar="DATASET",
    help="Instead of a run: real images that are not in the reference, the floor of the table.",
)
@click.option(
    "--sanity", is_flag=True, help="With --real: also the same images flipped, as JPEG, blurred and with noise."
)
@click.option("--num-samples", type=click.IntRange(min=2), default=10_000, show_default=True, metavar="N")
@click.option("--extractor", type=EXTRACTOR, default=DEFAULT_EXTRACTOR, show_default=True)
@click.option("--seed", type=SEED, default=1000, show_default=True, help="Seed of the samples.")
@click.option(
    "--num-seeds", type=click.IntRange(1, 100), default=1, show_default=True, metavar="N",
    help="So many sets of samples, each with a seed of its own: the spread over sampling.",
)  # fmt: skip
@click.option(
    "--extractor-precision", "precision", type=PRECISION_OF_EXTRACTOR, default=EXTRACTOR_PRECISION, show_default=True,
    help="Number format of the extractor; fp16 needs a CUDA device and is a protocol of its own.",
)  # fmt: skip
@measuring_options
def evaluate(
    run_id: str | None, variant: str | None, real: str | None, sanity: bool, num_samples: int, extractor: str,
    seed: int, num_seeds: int, precision: str, weights: Path | None, device: str,
) -> None:  # fmt: skip
    """Measure generators, last and best, against real images, into their own runs."""
    from pipeline import evaluate as stage
    from pipeline.measuring import Options
    from pipeline.metrics.corruptions import CORRUPTIONS
    from pipeline.tracking import connect, ui_hint

    if sum(option is not None for option in (run_id, variant, real)) != 1:
        raise UserError("Give one of --run ID, --variant NAME and --real DATASET; `pipeline ui` lists the runs.")
    if sanity and real is None:
        raise UserError("--sanity goes with --real DATASET: it measures real images that were made worse.")
    store, workspace = connect(), Workspace()
    options = Options(num_samples, extractor, weights, seed, num_seeds, device, precision)
    if real is not None:
        for corruption in (None, *(CORRUPTIONS if sanity else ())):
            done = stage.evaluate_real(real, options, store=store, workspace=workspace, corruption=corruption)
            click.echo(done.text)
        click.echo(ui_hint(store))
        return
    run_ids = [run_id] if run_id is not None else stage.finished_runs(str(variant), store)
    store.point_to(run_ids, f"Evaluation of {', '.join(run_ids)}.")
    for each in run_ids:
        for evaluation in stage.evaluate(each, options, store=store, workspace=workspace):
            click.echo(evaluation.text)
    click.echo(ui_hint(store))


@click.command(cls=StageCommand)
@click.option("--out", "directory", type=FILE, metavar="DIR", help="Where to write [default: reports/].")
@click.option("--run", "run_ids", multiple=True, metavar="ID", help="Only these trainings; repeat it for several.")
@click.option("--suite", metavar="SUITE", help="Only the trainings of this suite; what is missing of it is said.")
@click.option("--data", metavar="NAME", help="With --suite: the dataset it ran on, if not the suite's own.")
@click.option(
    "--publish",
    is_flag=True,
    help="With --suite: for a repository, with no image of the dataset and no report.html "
    "[default folder: experiments/results/SUITE].",
)
@click.option(
    "--compare", nargs=2, metavar="A B", help="Instead: what differs between two runs or rows (id, variant or label)."
)
@click.option("--one-table", is_flag=True, help="Refuse runs that were not all measured under one protocol.")
@click.option(
    "--claims", type=FILE, metavar="FILE",
    help="Claims and their rules [default: the suite's own, else experiments/claims.yaml].",
)  # fmt: skip
@click.option(
    "--training-images/--no-training-images", default=True, show_default=True,
    help="Show the training images that are nearest to generated ones.",
)  # fmt: skip
@register_option
def report(
    directory: Path | None, run_ids: tuple[str, ...], suite: str | None, data: str | None, publish: bool,
    compare: tuple[str, str] | None, one_table: bool, claims: Path | None, training_images: bool, register_best: bool,
) -> None:  # fmt: skip
    """Write the report: tables, curves, pictures and verdicts, from the tracking store.

    reports/ then has report.md, report.html (one file, all pictures inside), tables.tex, results.json and CSV files.
    """
    from pipeline import report as stage
    from pipeline.tracking import connect, ui_hint

    if suite is None and (publish or data is not None):
        raise UserError(f"--{'publish' if publish else 'data'}: goes with --suite SUITE, which was not given. Add it.")
    if suite is not None and run_ids:
        raise UserError("--suite and --run: either selects the trainings, got both. Leave one of them out.")
    store = connect()
    chosen = None
    if suite is not None:
        from pipeline.suites import find_suite  # loads torch

        chosen = find_suite(suite, store, data)
    run_ids = tuple(chosen.run_ids) if chosen and compare else run_ids
    directory = directory or (
        Path("experiments", "results", chosen.name) if chosen and publish else Workspace().reports
    )
    if compare is not None:
        done = stage.compare(*compare, store=store, directory=directory, run_ids=run_ids)
        click.echo(f"{done.text}\n\n{short_path(done.markdown)}")
        return
    result = stage.report(
        store=store, directory=directory, run_ids=run_ids, suite=chosen, claims=claims, one_table=one_table,
        training_images=training_images, publish=publish, register_best=register_best,
    )  # fmt: skip
    click.echo("\n".join([f"{result.text}\n", *map(short_path, result.pages), ui_hint(store)]))
    if result.unregistered:
        raise UserError(result.unregistered)
