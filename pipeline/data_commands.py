"""The commands of the data: `pipeline prepare`, and `pipeline data`, which looks after what was prepared."""

import json
from pathlib import Path

import click

from gan.errors import UserError
from pipeline.console import short_path
from pipeline.data.choices import FITS, NEAR_DUPLICATES, Fit, NearDuplicates
from pipeline.options import COUNT, FILE, StageCommand
from pipeline.workspace import Workspace

json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")


class _SourceCommand(StageCommand):
    """A command whose help ends with the table of sources, which is read only then."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- overrides
        """Write the table."""
        from pipeline.data.sources import SOURCES

        with formatter.section("Sources"):
            formatter.write_dl([(kind.form, kind.meaning) for kind in SOURCES])
        formatter.write_paragraph()
        formatter.write_text("Options of a source follow it: hf:OWNER/NAME,split=test. See docs/data.md.")


@click.command(cls=_SourceCommand)
@click.option(
    "--source", "sources", multiple=True, default=["avatars"], show_default=True, metavar="SOURCE",
    help="Where images come from; repeat it for several.",
)  # fmt: skip
@click.option("--name", help="Name of the dataset [default: from the source].")
@click.option("--num-images", type=COUNT, metavar="N", help="How many images [default: all; 51,223 avatars].")
@click.option("--image-size", type=click.IntRange(8, 1024), default=64, show_default=True, metavar="PIXELS")
@click.option(
    "--fit", type=click.Choice(FITS), default="crop", show_default=True,
    help="How a picture becomes a square: its middle, or white at its sides.",
)  # fmt: skip
@click.option(
    "--held-out", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
    help="So many of the images are for no training: what memorisation is measured with.",
)  # fmt: skip
@click.option(
    "--near-duplicates", type=click.Choice(NEAR_DUPLICATES), default="report", show_default=True,
    help="Pictures that nearly equal each other: say which, keep one of each, or do not look for them.",
)  # fmt: skip
@click.option(
    "--check", "only_check", is_flag=True, help="Only look: read everything, say what is found, keep nothing."
)
@click.option("--strict", is_flag=True, help="Fail if a file is rejected, instead of going on without it.")
@click.option(
    "--findings", type=FILE, metavar="FILE", help="Also write what was found, file by file, to this JSON file."
)
@click.option("--num-workers", type=COUNT, metavar="N", help="Processes; the result is the same [default: one a core].")
def prepare(
    sources: tuple[str, ...], name: str | None, num_images: int | None, image_size: int, fit: Fit, held_out: int,
    near_duplicates: NearDuplicates, only_check: bool, strict: bool, findings: Path | None, num_workers: int | None,
) -> None:  # fmt: skip
    """Turn images into one dataset: data/NAME with images.npy, manifest.json, findings.json and a contact sheet."""
    from pipeline import prepare as stage

    if only_check:
        stage.check(
            sources, num_images=num_images, image_size=image_size, fit=fit, near_duplicates=near_duplicates,
            strict=strict, findings=findings, num_workers=num_workers, say=click.echo,
        )  # fmt: skip
        return
    dataset = stage.prepare(
        sources, name=name, num_images=num_images, image_size=image_size, fit=fit, held_out=held_out,
        near_duplicates=near_duplicates, strict=strict, findings=findings, num_workers=num_workers,
        root=Workspace().data,
    )  # fmt: skip
    click.echo(
        f"{dataset.name}: {len(dataset.images):,} images, digest {dataset.digest[:12]}, "
        f"in {short_path(dataset.directory)}. Next: pipeline train --variant dcgan --data {dataset.name}"
    )


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
