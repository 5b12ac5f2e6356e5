"""Datasets of the Hugging Face Hub, or of its formats on this machine, through the `datasets` library.

That library has run no code of a dataset since version 4. Images are taken from it as they are stored, encoded, and
decoded by this project's own rule.
"""

import functools
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gan.errors import UserError
from pipeline.data.decoding import decode_bytes, decode_file
from pipeline.data.items import Item, Rejected, Source, reject
from pipeline.data.members import shown_name
from pipeline.data.specs import Spec, parse_spec

KIND = "hf"
OPTIONS = ("split", "column", "config", "revision")


def open_hub(spec: str) -> Source | None:
    """Give the images of a dataset OWNER/NAME, of a local folder that `datasets` understands or of a .parquet file.

    Options: split (default: the only one, else train), column (default: the only one with images), config, revision
    (a commit or tag; default: the newest). Downloads what is not in the library's cache. The fingerprint is the
    library's own, which follows the files and the revision.
    """
    parsed = parse_spec(spec, KIND, OPTIONS)
    if parsed is None:
        return None
    library = _library(spec)
    table = _choose_split(_load(library, parsed), parsed)
    column = _choose_column(library, table, parsed)
    images = table.select_columns([column]).cast_column(column, library.Image(decode=False))
    local = Path(parsed.what)
    roots = [Path(library.config.HF_CACHE_HOME).resolve(), (local.parent if local.is_file() else local).resolve()]
    return Source(
        spec=spec,
        kind=KIND,
        default_name=local.stem if local.exists() else parsed.what.rpartition("/")[2],
        fingerprint={"kind": KIND, "column": column, "fingerprint": table._fingerprint},  # it has no public name
        count=lambda: len(images),
        items=lambda: _items(images, column, str(table.split), roots),
        default_num_images=None,
        licence=_licence(table, parsed.what, is_local=local.exists()),
    )


def _load(library: Any, spec: Spec) -> Any:
    """Return the dataset's splits, a mapping, or only the one asked for."""
    options = {"name": spec.options.get("config"), "revision": spec.options.get("revision")}
    options["split"] = spec.options.get("split")
    try:
        if spec.what.endswith(".parquet") and Path(spec.what).is_file():
            return library.load_dataset("parquet", data_files=spec.what, split=options["split"])
        return library.load_dataset(spec.what, **options)
    except Exception as error:  # the library, the network, the file formats: nearly anything
        raise UserError(
            f"--source: '{spec.text}' cannot be loaded: {_first_line(error)}. Check the name, its options and the "
            "connection (a private dataset needs `hf auth login`), or give a local folder or .parquet file."
        ) from error


def _choose_split(loaded: Any, spec: Spec) -> Any:
    if "split" in spec.options:
        return loaded
    splits = list(loaded)
    if len(splits) == 1 or "train" in splits:
        return loaded[splits[0] if len(splits) == 1 else "train"]
    raise UserError(f"--source: '{spec.text}' has several splits. Give split=NAME, one of: {', '.join(splits)}.")


def _choose_column(library: Any, table: Any, spec: Spec) -> str:
    found = [str(name) for name, feature in table.features.items() if isinstance(feature, library.Image)]
    column = spec.options.get("column")
    if column in found:
        return column
    if column is None and len(found) == 1:
        return found[0]
    if not found:
        columns = ", ".join(f"{name} ({type(each).__name__})" for name, each in table.features.items())
        raise UserError(f"--source: '{spec.text}' has no column of images, only: {columns}. Give another dataset.")
    problem = "has several columns of images" if column is None else f"has no column '{column}' of images"
    raise UserError(f"--source: '{spec.text}' {problem}. Give column=NAME, one of: {', '.join(found)}.")


def _items(images: Any, column: str, split: str, roots: Sequence[Path]) -> Iterator[Item]:
    for index, row in enumerate(images):
        name = shown_name(f"{split}[{index}]")
        cell = row[column]
        if cell is None or (cell["bytes"] is None and not cell["path"]):
            yield Item(name, functools.partial(reject, "empty", "no image in this row"))
        elif cell["bytes"] is not None:
            yield Item(name, functools.partial(decode_bytes, cell["bytes"]), len(cell["bytes"]))
        else:
            yield _file_item(name, Path(cell["path"]), roots)


def _file_item(name: str, path: Path, roots: Sequence[Path]) -> Item:
    """Make a file that a row names an item, if it is the dataset's own: a table may not point at other files."""
    if not any(path.resolve().is_relative_to(root) for root in roots) or not path.is_file():
        verdict = Rejected("unreadable", "names a file that is missing or not the dataset's own")
        return Item(name, functools.partial(reject, verdict.kind, verdict.reason))
    return Item(shown_name(f"{name} {path.name}"), functools.partial(decode_file, path))


def _licence(table: Any, name: str, is_local: bool) -> dict[str, str]:
    facts = {"licence": table.info.license, "work_url": table.info.homepage}
    if not is_local:
        facts["work_url"] = f"https://huggingface.co/datasets/{name}"
    return {key: str(value) for key, value in facts.items() if value}


def _library(spec: str) -> Any:
    try:
        return importlib.import_module("datasets")
    except ImportError as error:
        raise UserError(
            f"--source: '{spec}' needs the `datasets` library. Run `pip install 'gan-benchmark[hf]'`."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
