"""`pipeline data`: looking after prepared datasets."""

import json

import click

from gan.errors import UserError
from pipeline.options import StageCommand
from pipeline.workspace import Workspace

json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")


@click.group()
def data() -> None:
    """Look after prepared datasets."""


@data.command("list", cls=StageCommand)
@json_option
def list_(as_json: bool) -> None:
    """List the datasets of data/, with size, digest and sources."""
    from pipeline.datasets import as_table, list_datasets

    entries = list_datasets(Workspace().data)
    if as_json:
        known = [
            {"name": entry.name, "problem": entry.problem}
            | ({"digest": entry.dataset.digest, **entry.dataset.manifest} if entry.dataset else {})
            for entry in entries
        ]
        click.echo(json.dumps(known, indent=2))
        return
    click.echo(as_table(entries) if entries else f"No dataset in '{Workspace().data}'. Run `pipeline prepare` first.")


@data.command(cls=StageCommand)
@click.argument("name", metavar="NAME")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show a dataset's card: images, digest, what was found in its files, sources, licences, contact sheet."""
    from pipeline.data.dataset import load_dataset, read_findings
    from pipeline.datasets import card

    dataset = load_dataset(name, Workspace().data, option="NAME")
    click.echo(json.dumps({**dataset.manifest, **read_findings(dataset)}, indent=2) if as_json else card(dataset))


@data.command(cls=StageCommand)
@click.argument("names", metavar="[NAME]...", nargs=-1)
def verify(names: tuple[str, ...]) -> None:
    """Compare every pixel with the digest of the day it was prepared; without a NAME of all datasets."""
    from pipeline.data.dataset import load_dataset, prepared_names
    from pipeline.datasets import verify as stage

    root = Workspace().data
    problems = []
    for name in names or prepared_names(root):
        try:
            dataset = load_dataset(name, root, option="NAME")
            stage(dataset)
            click.echo(f"{name}: {dataset.manifest['num_images']:,} images, as they were prepared")
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError(" ".join(problems))


@data.command(cls=StageCommand)
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete a dataset. Trainings of it stay, but cannot go on or be measured without it."""
    from pipeline.data.dataset import check_name
    from pipeline.datasets import remove as stage

    directory = Workspace().data / check_name(name, "NAME")
    if not yes:
        click.confirm(f"Delete {directory}? Trainings of it cannot go on or be measured without it", abort=True)
    stage(name, Workspace().data)
    click.echo(f"{name}: deleted")
