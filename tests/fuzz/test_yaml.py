"""Whatever stands in a YAML file or after --set: a configuration, or one line that says what is wrong."""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gan.errors import UserError
from pipeline.config import apply_overrides, load_experiment, load_suite
from pipeline.reporting.claims import load_claims
from pipeline.workspace import installed_experiments
from pipeline.yaml_loader import MOST_CHARACTERS, parse_yaml
from tests.fuzz.harness import Change, changed, changes, fuzzed, refused

EXPERIMENTS = installed_experiments()
VARIANTS = [path.read_bytes() for path in (EXPERIMENTS / "wgan_sgd.yaml", EXPERIMENTS / "extra" / "sngan.yaml")]
SUITES = [(EXPERIMENTS / "suites" / f"{name}.yaml").read_bytes() for name in ("demo", "feature_spaces")]
CLAIMS = [(EXPERIMENTS / "claims.yaml").read_bytes()]
WHOLE = {text: yaml.safe_load(text) for text in (*VARIANTS, *SUITES, *CLAIMS)}
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # five times faster
LOADERS: dict[str, Callable[[Path], object]] = {
    "experiment": lambda path: load_experiment(str(path)),
    "suite": lambda path: load_suite(str(path)),
    "claims": load_claims,
}

SNIPPETS = [
    b"&a ", b"*a", b"<<: *a", b"&a [*a]", b"{a: &a b, c: *a}", b"!!python/object/apply:os.system [date]",
    b"!!python/name:os.system ", b"!!binary aGk=", b"!!set {a, b}", b"!!omap [a: 1]", b"!!timestamp x", b"!!int ''",
    b"!x%0Ay ", b"!<tag:yaml.org,2002:null> ", b"%TAG ! tag:x\n", b"%YAML 9.9\n", b"---\n", b"...\n", b"? ", b"?\n",
    b"- ", b"-", b": ", b":", b", ", b"[", b"]", b"{", b"}", b"|\n", b">+9\n", b"\t", b"\n", b"\n  ", b"\r", b"#", b"'",
    b'"', b'"\\ud800"', b'"\\0"', b'"\\e[31m"', b"\xff", b"\x00", b"\xef\xbb\xbf", "\N{GRINNING FACE}".encode(),
    "\N{RIGHT-TO-LEFT OVERRIDE}".encode(), b"~", b"null", b"true", b"yes", b".nan", b"-.inf", b"1e999", b"-1",
    b"0x" + b"f" * 4000, b"9" * 5000, b"1:60:60", b"0b2", b"2001-01-01", b"2001-99-99", b"name: ", b"name: {}\n",
    b"set: {epochs: 1}\n", b"optimizer: 1\n", b"loss: bce\n", b"1: 2\n", b"[" * 100, b"{a: " * 100, b"- " * 100,
]  # fmt: skip
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.dates() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3),
    max_leaves=4,
)
GROUPS = ("optimizer", "generator", "discriminator", "schedule", "gradient_penalty")
PLAIN_FIELDS = "loss epochs weight_clip title variant precision ema_decay batch_size max_steps x a.b"
OF_GROUPS = [f"{group}.{name}" for group in GROUPS for name in ("name", "lr", "betas", "dropout", "head", "weight")]
FIELDS = [*GROUPS, *OF_GROUPS, *PLAIN_FIELDS.split()]
OVERRIDES = st.builds(
    "{}={}".format, st.sampled_from(FIELDS) | st.text(max_size=5), st.text(max_size=8) | PLAIN.map(repr)
)


def bomb(levels: int = 30, width: int = 9) -> str:
    """Return a billion laughs: each line is a list of the line before."""
    lines = ["a0: &a0 [lol]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels))]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "mine.yaml")


def values() -> st.SearchStrategy[bytes]:
    """Return values as they may stand after a colon."""
    dumped = PLAIN.map(lambda value: yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).encode())
    return st.sampled_from(SNIPPETS) | dumped.map(lambda text: b" " + text.removesuffix(b"...\n"))


def check(loader: str, content: bytes, file: Path) -> None:
    file.write_bytes(content)
    refused(lambda: LOADERS[loader](file))


@fuzzed
@given(loader=st.sampled_from(sorted(LOADERS)), content=st.binary(max_size=200))
def test_random_bytes(loader: str, content: bytes, file: Path) -> None:
    check(loader, content, file)


@fuzzed
@given(loader=st.sampled_from(sorted(LOADERS)), parts=st.lists(values(), max_size=12))
@example(loader="experiment", parts=[b"!x%0Ay 1"])
@example(loader="experiment", parts=[b"{2001-01-01: 1}"])
@example(loader="suite", parts=[b'title: "\\ud800"'])
def test_random_pieces_of_yaml(loader: str, parts: list[bytes], file: Path) -> None:
    check(loader, b"".join(parts), file)


@fuzzed
@given(which=st.integers(0, len(VARIANTS) - 1), todo=changes(piece=values()))
def test_changed_variants(which: int, todo: list[Change], file: Path) -> None:
    check("experiment", changed(VARIANTS[which], todo), file)


@fuzzed
@given(which=st.integers(0, len(SUITES) - 1), todo=changes(piece=values()))
def test_changed_suites(which: int, todo: list[Change], file: Path) -> None:
    check("suite", changed(SUITES[which], todo), file)


@fuzzed
@given(which=st.integers(0, len(CLAIMS) - 1), todo=changes(piece=values()))
def test_changed_claims(which: int, todo: list[Change], file: Path) -> None:
    check("claims", changed(CLAIMS[which], todo), file)


@fuzzed
@given(
    base=st.sampled_from(VARIANTS), field=st.sampled_from(FIELDS), value=PLAIN,
    loader=st.sampled_from(["experiment", "suite", "claims"]),
)  # fmt: skip
def test_other_values_in_whole_files(base: bytes, field: str, value: object, loader: str, file: Path) -> None:
    """Of the right form, so that the checks behind the parser are reached."""
    whole = {"experiment": base, "suite": SUITES[0], "claims": CLAIMS[0]}[loader]
    data = deepcopy(WHOLE[whole])
    places = [(group, key) for group in [data, *_groups(data)] for key in list(group)]
    group, key = places[len(field) * 7 % len(places)]
    group[key] = value
    check(loader, yaml.dump(data, Dumper=DUMPER, default_flow_style=None, allow_unicode=True).encode(), file)


def _groups(data: object) -> list[dict[object, object]]:
    """Return all mappings below the first."""
    inner = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
    return [found for each in inner for found in ([each] if isinstance(each, dict) else []) + _groups(each)]


@fuzzed
@given(overrides=st.lists(OVERRIDES, max_size=3))
@example(overrides=["optimizer={1: {a: b}}", "optimizer.x.y=1"])
@example(overrides=["optimizer={2001-01-01: 1}"])
@example(overrides=['title="\\ud800"'])
@example(overrides=["epochs=0x" + "f" * 4000])
@example(overrides=["weight_clip=" + "[" * 2000])
def test_overrides(overrides: list[str]) -> None:
    refused(lambda: load_experiment("dcgan", overrides))


BOMBS = {
    "a billion laughs": (bomb(), "more than 20,000 values"),
    "long texts": (f"a: &a {'x' * 9000}\nb: [{', '.join(['*a'] * 9000)}]", "more than 20,000 values"),
    "deep": ("[" * 5000, "50 levels"),
    "deep by lines": ("- " * 5000, "nested too deeply"),
    "deep by aliases": ("\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 90))]), "50 levels"),
    "in itself": ("a: &a [1, *a]", "inside of its own anchor"),
    "large": ("a: " + "x" * MOST_CHARACTERS, "at most 200,000 characters"),
    "many keys": ("\n".join(f"k{i}: 1" for i in range(12_000)), "more than 20,000 values"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(name: str) -> None:
    text, words = BOMBS[name]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UserError, match=words):
        parse_yaml(text, "mine.yaml")
    assert time.process_time() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "KiB"


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"endless\.yaml"):
        load_claims(tmp_path / "endless.yaml")


def test_aliases_within_the_limits_are_read_and_stand_for_copies(tmp_path: Path) -> None:
    text = (EXPERIMENTS / "dcgan.yaml").read_text()
    rates = "schedule: &s {name: linear, start: 0.5, final: 0.1}\n"
    (tmp_path / "mine.yaml").write_text(text + rates)
    assert load_experiment(str(tmp_path / "mine.yaml")).schedule.name == "linear"
    data = parse_yaml("a: &x {b: 1}\nc: *x", "mine")
    apply_overrides(data, ["a.b=2"])
    assert data == {"a": {"b": 2}, "c": {"b": 1}}
