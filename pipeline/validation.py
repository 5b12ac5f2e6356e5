"""Turns a validation error into one line: file or option, field, rule, value, remedy."""

import difflib
import json
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

Path = tuple[str | int, ...]


def explain(error: ValidationError, model: type, data: Any, where: str, origins: Mapping[tuple[str, ...], str]) -> str:
    """Return the message for the first error, and how many more there are.

    origins: which command-line override set which field; such a field is named by its override, not by the file.
    """
    details = error.errors(include_url=False)
    first = details[0]
    path = _path_in(data, first["loc"])
    if first["type"].startswith("union_tag"):
        path = (*path, "name")
    named = next((text for keys, text in origins.items() if path[: len(keys)] == keys), where)
    more = f" ({len(details) - 1} more like this.)" if len(details) > 1 else ""
    return f"{named}: {_sentence(first, path, model, data)}{more}"


def _path_in(data: Any, location: tuple[str | int, ...]) -> Path:
    """Return pydantic's location without the tags of unions, which are not keys of the data."""
    path: list[str | int] = []
    for i, part in enumerate(location):
        is_tag = isinstance(data, dict) and data.get("name") == part and part not in data and i < len(location) - 1
        if is_tag:
            continue
        path.append(part)
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
    return tuple(path)


def _sentence(detail: ErrorDetails, path: Path, model: type, data: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    name = ".".join(str(part) for part in path)
    got = f"got {json.dumps(detail['input'], default=str)}"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = _fields_at(model, path[:-1], data)
        near = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else f" Known fields: {', '.join(known)}."
        return f"{name} is not a field.{hint}"
    if kind in ("missing", "missing_argument"):
        return f"{name} is missing. Add it."
    if kind == "value_error":
        return f"{name} {str(context.get('error', detail['msg'])).removesuffix('?')}" + (
            "?" if "Did you mean" in detail["msg"] else "."
        )
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tag_sentence(detail, ".".join(str(part) for part in path[:-1]))
    if kind == "literal_error":
        return f"{name} must be one of {context['expected']}, {got}.{_suggest(detail['input'], context['expected'])}"
    rule = detail["msg"].removeprefix("Input ").removeprefix("Value ").replace("should", "must", 1)
    return f"{name} {rule}, {got}. Correct it."


def _tag_sentence(detail: ErrorDetails, name: str) -> str:
    expected = str(detail.get("ctx", {}).get("expected_tags", ""))
    if detail["type"] == "union_tag_not_found":
        return f"{name}.name is missing. Write {name}: {{name: ...}} with a name of the table."
    tag = detail.get("ctx", {}).get("tag", "")
    return f"{name}.name must be one of {expected}, got '{tag}'.{_suggest(tag, expected)}"


def _suggest(value: object, expected: str) -> str:
    names = [part.strip().strip("'") for part in expected.replace(" or ", ",").split(",")]
    near = difflib.get_close_matches(str(value), names, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def _fields_at(model: Any, path: Path, data: Any) -> list[str]:
    """Return the names of the fields that are known at a path of the data."""
    candidates = _dataclasses_in(model)
    for part in path:
        data = data.get(part) if isinstance(data, dict) else data[part] if isinstance(part, int) else None
        hints = [typing.get_type_hints(c, include_extras=True).get(str(part)) for c in candidates]
        found = [d for hint in hints for d in _dataclasses_in(hint)]
        candidates = found or candidates
        if isinstance(data, dict) and "name" in data:
            tagged = [c for c in candidates if data["name"] in _tags(c)]
            candidates = tagged or candidates
    return [field.name for candidate in candidates for field in fields(candidate)]


def _tags(model: type) -> tuple[Any, ...]:
    return typing.get_args(typing.get_type_hints(model).get("name"))


def _dataclasses_in(hint: Any) -> list[Any]:
    """Return the dataclasses that a type hint is made of."""
    if isinstance(hint, type) and is_dataclass(hint):  # a validator in an annotation is an instance of one
        return [hint]
    return [d for argument in typing.get_args(hint) for d in _dataclasses_in(argument)]
