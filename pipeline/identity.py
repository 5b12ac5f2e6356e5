"""What a training was: its resolved configuration, the hash over it, and what it changed of its variant's file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

UNHASHED = ("title",)  # words only


def config_hash_of(config: Mapping[str, Any], dataset_digest: str, code_hash: str) -> str:
    """Return a hash of all that decides the result of a training but the seed: configuration, images and code."""
    content = {key: value for key, value in config.items() if key not in UNHASHED}
    return hash_of([content, dataset_digest, code_hash])


def hash_of(content: object) -> str:
    """Return 32 hexadecimal digits for plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the fields of a configuration by dotted name: {"optimizer": {"lr": 1}} is {"optimizer.lr": 1}."""
    fields: dict[str, Any] = {}
    for key, value in config.items():
        fields |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return fields


def changed_fields(config: Mapping[str, Any], base: Mapping[str, Any]) -> Sequence[str]:
    """Return the dotted names of the fields in which a configuration differs from the one it was made of, sorted."""
    ours, theirs = flatten(config), flatten(base)
    names = {name for name in {*ours, *theirs} if name not in UNHASHED}
    return sorted(name for name in names if name not in ours or name not in theirs or ours[name] != theirs[name])


def write_value(value: object) -> str:
    """Write a field's value as `--set` reads it: 0.0002, true, null, [1, 2], text."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
