"""What a training was: one hash for one result, and in which fields it differs from its variant's file."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import apply_overrides
from pipeline.identity import changed_fields, config_hash_of, flatten, hash_of, write_value

CONFIG = {"title": "A", "lr": 0.1, "optimizer": {"name": "adam", "betas": [0.5, 0.9]}, "clip": None}

YAML_WORDS = ("true", "false", "yes", "no", "on", "off", "null")
words = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda text: text not in YAML_WORDS)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(min_codepoint=32, max_codepoint=126))
leaves = scalars | words | st.lists(scalars | texts | st.lists(scalars, max_size=2), max_size=3)
configs = st.recursive(
    st.dictionaries(words, leaves, max_size=4),
    lambda groups: st.dictionaries(words, leaves | groups, max_size=4),
    max_leaves=8,
)


def paths(config: Mapping[str, Any], *path: str) -> list[tuple[tuple[str, ...], Any]]:
    """Return where each value of a configuration is."""
    found = []
    for key, value in config.items():
        found += paths(value, *path, key) if isinstance(value, dict) else [((*path, key), value)]
    return found


def test_the_hash_is_of_configuration_images_and_code() -> None:
    content = b'[{"b": {"c": [1, 2.0], "d": null}, "lr": 0.1}, "digest", "code"]'
    config = {"lr": 0.1, "title": "A", "b": {"d": None, "c": [1, 2.0]}}
    assert config_hash_of(config, "digest", "code") == hashlib.sha256(content).hexdigest()[:32]


def test_neither_the_title_nor_the_order_of_the_fields_is_hashed() -> None:
    backwards = {"clip": None, "optimizer": {"betas": [0.5, 0.9], "name": "adam"}, "lr": 0.1}
    assert config_hash_of(CONFIG, "d", "c") == config_hash_of(backwards | {"title": "B"}, "d", "c")
    assert config_hash_of(CONFIG, "d", "c") == config_hash_of(backwards, "d", "c")


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.2},
        {"lr": "0.1"},
        {"clip": 0.0},
        {"new": None},
        {"optimizer": {"name": "adam", "betas": [0.9, 0.5]}},
        {"optimizer": {"name": "adam", "betas": [0.5, 0.9], "title": "A"}},  # only the training's own is words
        {"optimizer": {"name": "adam"}},
    ],
)
def test_every_value_is_hashed(change: dict[str, Any]) -> None:
    assert config_hash_of(CONFIG | change, "d", "c") != config_hash_of(CONFIG, "d", "c")


def test_images_and_code_are_hashed_each_in_its_place() -> None:
    hashes = {config_hash_of(CONFIG, *pair) for pair in [("d", "c"), ("e", "c"), ("d", "e"), ("c", "d"), ("dc", "")]}
    assert len(hashes) == 5


def test_a_hash_is_32_digits() -> None:
    assert hash_of([]) == hashlib.sha256(b"[]").hexdigest()[:32] == "4f53cda18c2baa0c0354bb5f9a3ecbe5"


def test_flatten() -> None:
    assert flatten(CONFIG) == {
        "title": "A",
        "lr": 0.1,
        "optimizer.name": "adam",
        "optimizer.betas": [0.5, 0.9],
        "clip": None,
    }
    assert flatten({"a": {"b": {"c": 1}, "d": 2}}) == {"a.b.c": 1, "a.d": 2}
    assert flatten({}) == {}


@given(configs)
def test_flatten_has_each_value_once_under_its_own_name(config: dict[str, Any]) -> None:
    assert list(flatten(config).items()) == [(".".join(path), value) for path, value in paths(config)]


def test_changed_fields() -> None:
    def changed(**change: object) -> list[str]:
        return list(changed_fields(CONFIG | change, CONFIG))

    assert changed(title="B") == []
    assert changed(lr=0.2, clip=0.0) == ["clip", "lr"]
    assert changed(optimizer={"name": "sgd", "betas": [0.5, 0.9]}) == ["optimizer.name"]
    assert changed(optimizer={"name": "sgd", "momentum": 0.9}) == [
        "optimizer.betas",
        "optimizer.momentum",
        "optimizer.name",
    ]
    assert changed(optimizer=None) == ["optimizer", "optimizer.betas", "optimizer.name"]
    assert changed(new=None) == ["new"]  # a field that one of them has differs, whatever its value


@given(configs, configs)
def test_what_changed_is_the_same_from_both_sides_and_nothing_for_equals(
    ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    assert changed_fields(ours, ours) == []
    found = changed_fields(ours, theirs)
    assert found == changed_fields(theirs, ours) == sorted(set(found))
    same = flatten(ours).keys() - set(found)
    assert {name: flatten(ours)[name] for name in same - {"title"}} == {
        name: value for name, value in flatten(theirs).items() if name in same - {"title"}
    }
    assert set(found) <= flatten(ours).keys() | flatten(theirs).keys()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0002, "0.0002"),
        (1e-5, "1e-05"),
        (1e16, "1e+16"),
        (64, "64"),
        (True, "true"),
        (None, "null"),
        ([0.5, 0.999], "[0.5, 0.999]"),
        ([], "[]"),
        ("wasserstein", "wasserstein"),
    ],
)
def test_a_value_is_written_as_a_person_sets_it(value: object, text: str) -> None:
    assert write_value(value) == text


@given(leaves)
def test_what_is_written_is_what_an_override_reads(value: object) -> None:
    data: dict[str, Any] = {"group": {"field": "before"}}
    apply_overrides(data, [f"group.field={write_value(value)}"])
    assert repr(data) == repr({"group": {"field": value}})  # of the same type too: 1, 1.0 and true are equal
