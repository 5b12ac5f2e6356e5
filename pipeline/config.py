"""Experiments and suites: YAML files, read strictly into frozen dataclasses, with overrides from the command line."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gan.config import Config, parse_config
from gan.errors import UserError, one_line
from gan.schema import STRICT, Name, PositiveInt, plain_json
from pipeline.defaults import CURVE_EPOCHS, CURVE_SAMPLES, DEFAULT_EXTRACTOR
from pipeline.metrics.extractors import EXTRACTORS
from pipeline.validation import explain
from pipeline.workspace import CLAIMS, experiments_directory
from pipeline.yaml_loader import parse_yaml, read_yaml

Seed = Annotated[int, Field(ge=0, lt=2**63)]
T = TypeVar("T")


@dataclass(frozen=True, config=STRICT)
class DatasetConfig:
    """What `prepare` is asked for."""

    name: Name
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    num_images: PositiveInt | None = None
    image_size: Annotated[int, Field(ge=8, le=1024)] = 64
    held_out: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, config=STRICT)
class CellConfig:
    """One row of a suite: a variant, with what differs from its file."""

    variant: str
    set: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """What `evaluate` is asked for. num_samples: generated images, and real ones for the floor row.

    num_seeds: so many sets of samples are measured, each with a seed of its own. every_epochs: measure during training
    too (0.5: twice an epoch), with curve_samples images in the feature spaces curve_extractors, the first of which
    decides which generator is best; 0: never.
    """

    extractors: Annotated[tuple[str, ...], Field(min_length=1)]
    num_samples: Annotated[int, Field(ge=2, le=10**6)]
    num_seeds: Annotated[int, Field(ge=1, le=100)] = 1
    every_epochs: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] = CURVE_EPOCHS
    curve_samples: Annotated[int, Field(ge=2, le=10**6)] = CURVE_SAMPLES
    curve_extractors: Annotated[tuple[str, ...], Field(min_length=1)] = (DEFAULT_EXTRACTOR,)


@dataclass(frozen=True, config=STRICT)
class SuiteConfig:
    """Variants x seeds on one dataset. `set` holds for all rows, a row's own `set` is applied after it.

    claims: a file of claims that its report decides, instead of the reports' own; relative to the suite's file.
    """

    title: str
    dataset: DatasetConfig
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    evaluation: EvaluationConfig
    cells: Annotated[tuple[CellConfig, ...], Field(min_length=1)]
    set: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    claims: str | None = None


def load_experiment(variant: str, overrides: Sequence[str] = ()) -> Config:
    """Return the configuration of a variant's name or YAML file, with overrides such as "optimizer.lr=2e-4".

    Raises UserError that names the file or the override, the field, the rule, the value and the remedy.
    """
    path = find_experiment(variant)
    data = {"variant": one_line(path.stem)} | read_yaml(path)
    origins = apply_overrides(data, overrides)
    try:
        return parse_config(data)
    except ValidationError as error:
        raise UserError(explain(error, Config, data, str(path), origins)) from None
    except ValueError as error:
        raise UserError(f"{' or '.join([str(path), *origins.values()])}: {error}. Correct it.") from None


def find_experiment(variant: str) -> Path:
    """Return the file of a variant's name, or the one that is given. UserError where there is none."""
    directories = [experiments_directory(), experiments_directory() / "extra"]
    return _find(variant, directories, "--variant", "variants")


def load_suite(suite: str) -> SuiteConfig:
    """Return the suite of a name or YAML file; its variants and overrides are checked too."""
    path = _find(suite, [experiments_directory() / "suites"], "SUITE", "suites")
    data = read_yaml(path)
    try:
        config: SuiteConfig = TypeAdapter(SuiteConfig).validate_json(plain_json(data), strict=True)
    except ValidationError as error:
        raise UserError(explain(error, SuiteConfig, data, str(path), {})) from None
    except ValueError as error:
        raise UserError(f"{path}: {error}. Correct it.") from None
    for field in ("extractors", "curve_extractors"):
        for name in getattr(config.evaluation, field):
            if name not in EXTRACTORS:
                raise UserError(
                    f"{path}: evaluation.{field} must be of {', '.join(EXTRACTORS)}, got '{name}'. Correct it."
                )
    for cell in config.cells:
        try:
            load_experiment(cell.variant, overrides_of(config, cell))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    if config.claims is None:
        return config
    claims = path.parent / config.claims
    if not _is_file(claims):
        raise UserError(f"{path}: claims must be a file beside it, got '{config.claims}'. Correct the path.")
    return dataclasses.replace(config, claims=str(claims))


def overrides_of(suite: SuiteConfig, cell: CellConfig) -> list[str]:
    """Return a cell's overrides in the form of the command line."""
    return [f"{key}={_flow(value)}" for key, value in {**suite.set, **cell.set}.items()]


def _flow(value: object) -> str:
    """Return a value as YAML on one line."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=10**6)).removesuffix("\n...\n").strip()


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[tuple[str, ...], str]:
    """Set dotted keys in place; return which override set which key, for messages."""
    origins: dict[tuple[str, ...], str] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        keys = tuple(key.strip().split("."))
        if not separator or not all(keys):
            raise UserError(f"--set must be FIELD=VALUE, for example optimizer.lr=2e-4, got '{override}'.")
        target = data
        for depth, part in enumerate(keys[:-1], start=1):
            child = target.get(part)
            if not isinstance(child, dict):
                groups = [str(key) for key, value in target.items() if isinstance(value, dict)]
                near = difflib.get_close_matches(part, groups, n=1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                raise UserError(f"--set {override}: {'.'.join(keys[:depth])} is not a group of fields.{hint}")
            target[part] = target = dict(child)  # a copy: an alias may stand for it elsewhere
        target[keys[-1]] = parse_yaml(text, f"--set {override}")
        origins[keys] = f"--set {override}"
    return origins


def _find(name: str, directories: Sequence[Path], option: str, kind: str) -> Path:
    """Return the file that a name or a path of a YAML file stands for; of two with one name the earlier folder's."""
    given = Path(name)
    if given.suffix in (".yaml", ".yml"):
        if _is_file(given):
            return given
        raise UserError(f"{option}: the file '{name}' does not exist. Give the path of a YAML file or a name.")
    known: dict[str, Path] = {}
    for directory in directories:
        for path in sorted(directory.glob("*.yaml")):
            if path.name != CLAIMS:
                known.setdefault(path.stem, path)
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise UserError(
        f"{option} must be one of the {kind} {', '.join(known)} (in {directories[0]}) or a YAML file, "
        f"got '{name}'.{hint}"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def dump_yaml(config: Config) -> str:
    """Return the resolved configuration as YAML that `--variant FILE` reads back."""
    return str(yaml.safe_dump(_plain(config.to_dict()), sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    """Turn tuples into lists."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
