"""The command line: thin Click commands around the stages."""

import json
from pathlib import Path
from typing import Any

import click

from gan.errors import UserError
from pipeline import __version__
from pipeline.console import log_in_lines, run_command_line, short_path
from pipeline.data_commands import data, prepare
from pipeline.defaults import CURVE_EPOCHS, CURVE_SAMPLES, DEFAULT_EXTRACTOR
from pipeline.options import (
    COUNT,
    EPOCHS,
    EXTRACTOR,
    FILE,
    SECONDS,
    SEED,
    StageCommand,
    device_option,
    execution_options,
    measuring_options,
    precision_option,
    register_option,
    split_overrides,
)
from pipeline.result_commands import evaluate, report
from pipeline.transfer_commands import export_command, import_command
from pipeline.workspace import Workspace


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="pipeline")
def cli() -> None:
    """Train, measure and compare GANs.

    All results lie in the working directory: data/, checkpoints/, samples/, reports/ and the tracking store
    (mlflow.db, mlruns/), or the one that MLFLOW_TRACKING_URI names.
    """
    log_in_lines()


cli.add_command(prepare)
cli.add_command(data)
cli.add_command(evaluate)
cli.add_command(report)
cli.add_command(export_command)
cli.add_command(import_command)


@cli.command(cls=StageCommand)
@click.option("--variant", required=True, metavar="NAME|FILE", help="An experiment of experiments/ or a YAML file.")
@click.option("--data", default="avatars", show_default=True, metavar="NAME", help="A prepared dataset.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Weights, order of images, latents, dropout.")
@click.option("--epochs", type=COUNT, metavar="N", help="Instead of the variant's own number.")
@click.option(
    "--set", "overrides", multiple=True, callback=split_overrides, metavar="FIELD=VALUE",
    help="Override a field of the variant, for example optimizer.lr=2e-4; repeat it for several.",
)  # fmt: skip
@precision_option
@click.option("--max-seconds", type=SECONDS, metavar="S", help="Stop after this time; the same command goes on.")
@click.option(
    "--share-every", type=SECONDS, metavar="S",
    help="Keep a checkpoint in the tracking store too, every so many seconds: the same command then goes on on "
    "another machine.",
)  # fmt: skip
@click.option(
    "--evaluate-every", type=EPOCHS, default=CURVE_EPOCHS, show_default=True, metavar="EPOCHS",
    help="Measure the generator every so many epochs (0.5: twice an epoch): curves, and the best generator is kept "
    "too; 0: never.",
)  # fmt: skip
@click.option(
    "--evaluate-samples",
    type=click.IntRange(min=2),
    default=CURVE_SAMPLES,
    show_default=True,
    metavar="N",
    help="Generated and real images of each such measurement, at most half of the dataset.",
)
@click.option(
    "--evaluate-extractor", "evaluate_extractors", type=EXTRACTOR, multiple=True,
    default=[DEFAULT_EXTRACTOR], show_default=True,
    help="Feature space of the curves; repeat it for several: the first decides which generator is best.",
)  # fmt: skip
@device_option
def train(
    variant: str, data: str, seed: int, epochs: int | None, overrides: tuple[str, ...], precision: str | None,
    max_seconds: float | None, share_every: float | None, evaluate_every: float, evaluate_samples: int,
    evaluate_extractors: tuple[str, ...], device: str,
) -> None:  # fmt: skip
    """Train a variant in a run of its own. The same command again goes on where it stopped."""
    from pipeline.config import load_experiment
    from pipeline.selection import Selection
    from pipeline.sharing.checkpoints import Sharing
    from pipeline.tracking import connect, ui_hint
    from pipeline.train import train as stage

    load_experiment(variant, overrides)  # say what is wrong before the store is made
    store = connect()
    trained = stage(
        variant, store=store, workspace=Workspace(), data=data, seed=seed, epochs=epochs, device=device,
        precision=precision, overrides=overrides, max_seconds=max_seconds,
        selection=Selection(evaluate_every, evaluate_samples, evaluate_extractors) if evaluate_every else None,
        sharing=Sharing(share_every) if share_every is not None else None,
    )  # fmt: skip
    how = "was done before" if trained.again else trained.status
    store.point_to([trained.run_id], f"This command's training is run `{trained.run_id}` ({how}).")
    if trained.status != "finished":
        raise UserError(f"run {trained.run_id} diverged: a loss is not finite. Lower the learning rate.")
    click.echo(f"{variant}, seed {seed}: {how}. Next: pipeline evaluate --run {trained.run_id}\n{ui_hint(store)}")


@cli.command(cls=StageCommand)
@click.option("--run", "run_id", required=True, metavar="ID", help="A training run.")
@click.option("--num", type=COUNT, default=64, show_default=True, help="Images in the grid.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Image i depends on (seed, i) alone.")
@click.option("--out", "directory", type=FILE, metavar="DIR", help="Where to write [default: samples/].")
@click.option("--single/--no-single", default=False, help="Write every image as a PNG of its own too.")
@device_option
def sample(run_id: str, num: int, seed: int, directory: Path | None, single: bool, device: str) -> None:
    """Draw images from a trained generator: a grid and an interpolation between latents."""
    from pipeline.sample import sample as stage
    from pipeline.tracking import connect

    store = connect()
    samples = stage(
        run_id, store=store, num=num, seed=seed, directory=directory or Workspace().samples, single=single,
        device=device,
    )  # fmt: skip
    store.point_to([run_id], f"Samples of run `{run_id}`.")
    for file in samples.files[:2]:
        click.echo(short_path(file))
    if single:
        click.echo(f"and {num:,} single images beside them")


@cli.command(cls=StageCommand)
@click.argument("variant", metavar="VARIANT")
@click.option("--num-images", type=click.IntRange(min=2), default=51_223, show_default=True, help="For the steps.")
@click.option("--set", "overrides", multiple=True, callback=split_overrides, metavar="FIELD=VALUE")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def show(variant: str, num_images: int, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show a variant: configuration, layers with shapes and parameters, steps."""
    from pipeline.config import load_experiment
    from pipeline.show import render
    from pipeline.show import show as stage

    config = load_experiment(variant, overrides)
    click.echo(json.dumps(stage(config, num_images), indent=2) if as_json else render(config, num_images))


@cli.command(cls=StageCommand)
@click.argument("suite", metavar="SUITE")
@click.option("--data", metavar="NAME", help="A prepared dataset, instead of the suite's own.")
@click.option("--seed", "seeds", type=SEED, multiple=True, help="Instead of the suite's own; repeat it for several.")
@click.option("--extractor", "extractors", type=EXTRACTOR, multiple=True)
@click.option("--num-samples", type=click.IntRange(min=2), metavar="N", help="Instead of the suite's own number.")
@click.option("--out", "directory", type=FILE, metavar="DIR", help="Where to write the report [default: reports/].")
@precision_option
@register_option
@measuring_options
@execution_options
def run(
    suite: str, data: str | None, seeds: tuple[int, ...], extractors: tuple[str, ...], num_samples: int | None,
    directory: Path | None, precision: str | None, register_best: bool, weights: Path | None, device: str,
    executor: str, **options: Any,
) -> None:  # fmt: skip
    """Run a suite (demo, reports, ablations or a YAML file): every variant and seed, then the report.

    On another machine, or several: docs/scaling.md.
    """
    from pipeline.executors.execution import execution_of
    from pipeline.run import run_suite
    from pipeline.tracking import connect, ui_hint

    execution = execution_of(executor, options, logs=Path("logs", Path(suite).stem))
    store = connect()
    workspace = Workspace()
    result = run_suite(
        suite, store=store, workspace=workspace, data=data, seeds=seeds, extractors=extractors,
        num_samples=num_samples, weights=weights, device=device, precision=precision, execution=execution,
        directory=directory or workspace.reports, register_best=register_best,
    )  # fmt: skip
    written = result.report
    click.echo("\n".join([f"{written.text}\n", *map(short_path, written.pages), ui_hint(store)]))
    if written.unregistered:
        raise UserError(written.unregistered)
    if result.failed:
        cells = "; ".join(f"{name}: {reason}" for name, reason in result.failed)
        raise UserError(
            f"{len(result.failed)} cell(s) of suite '{suite}' failed: {cells}. The same command tries again."
        )


@cli.command(cls=StageCommand)
@click.option(
    "--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
    help="Where to listen; with 0.0.0.0 other machines can read and change the runs too.",
)  # fmt: skip
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=5000, show_default=True, metavar="N", help="0: a free one."
)
def ui(host: str, port: int) -> None:
    """Show the tracking store in MLflow's UI: trainings, best first, with charts and samples."""
    from pipeline.tracking import connect
    from pipeline.ui import serve

    serve(connect(), host, port)


def main() -> None:
    """Run the command line."""
    run_command_line(cli)
