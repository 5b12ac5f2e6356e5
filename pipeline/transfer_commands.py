"""The commands that take runs from one tracking store to another: `pipeline export` and `pipeline import`."""

from pathlib import Path

import click

from gan.errors import UserError
from pipeline.console import short_path
from pipeline.options import FILE, StageCommand
from pipeline.workspace import Workspace


@click.command(name="export", cls=StageCommand)
@click.argument("file", type=FILE, metavar="FILE")
@click.option("--run", "run_ids", multiple=True, metavar="ID", help="Only these trainings; repeat it for several.")
@click.option("--suite", metavar="SUITE", help="Only the trainings of this suite.")
@click.option("--data", metavar="NAME", help="With --suite: the dataset it ran on, if not the suite's own.")
@click.option(
    "--checkpoints/--no-checkpoints", default=True, show_default=True,
    help="With the checkpoints of trainings that did not finish, to go on with them elsewhere.",
)  # fmt: skip
@click.option(
    "--publish", is_flag=True,
    help="For a repository: numbers and last samples; no generator, no checkpoint, no image of the dataset.",
)  # fmt: skip
def export_command(
    file: Path, run_ids: tuple[str, ...], suite: str | None, data: str | None, checkpoints: bool, publish: bool
) -> None:
    """Write trainings with all that belongs to them into one FILE, for another machine or store.

    Also what was measured of the real images of their datasets. `pipeline import FILE` reads it; the datasets
    themselves are prepared there.
    """
    from pipeline.tracking import connect
    from pipeline.transfer import export_runs

    if suite is None and data is not None:
        raise UserError("--data: goes with --suite SUITE, which was not given. Add it.")
    if suite is not None and run_ids:
        raise UserError("--suite and --run: either selects the trainings, got both. Leave one of them out.")
    store = connect()
    if suite is not None:
        from pipeline.suites import find_suite

        run_ids = tuple(find_suite(suite, store, data).run_ids)
    done = export_runs(
        file, store=store, workspace=Workspace(), run_ids=run_ids, checkpoints=checkpoints, publish=publish
    )
    click.echo(f"{short_path(file)}: {done.text}. Elsewhere: pipeline import {file.name}")


@click.command(name="import", cls=StageCommand)
@click.argument("files", type=FILE, metavar="FILE...", nargs=-1, required=True)
def import_command(files: tuple[Path, ...]) -> None:
    """Copy the runs of FILEs that `pipeline export` wrote into the tracking store.

    Runs that are here already are brought up to date; those that were trained here are left alone, unless they were
    finished elsewhere. Then `pipeline report` shows them beside all others, and `pipeline run` and `pipeline train` go
    on with what is not finished, on the same dataset.
    """
    from pipeline.tracking import connect, ui_hint
    from pipeline.transfer import import_runs

    store = connect()
    done = import_runs(files, store=store, workspace=Workspace())
    click.echo(f"{done.text} Next: pipeline report\n{ui_hint(store)}")
