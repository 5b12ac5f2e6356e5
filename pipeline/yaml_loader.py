"""YAML as people mean it: safe, no duplicate keys, and `1e-4` is a number (YAML 1.2) rather than a string.

Anchors and aliases are read, within limits: ten lines can stand for a billion nodes.
"""

import re
from collections.abc import Hashable
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from gan.errors import UserError

MOST_CHARACTERS = 200_000  # a second of parsing; the largest file of experiments/ has 5,000
MOST_VALUES = 20_000  # of all kinds, each alias counted as all that it stands for, and long texts as several
LONG = 50  # characters
DEEPEST = 50  # levels

Size = tuple[int, int]  # values, levels


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 floats that refuses duplicate keys and what an alias makes too large."""

    def fetch_flow_collection_start(self, token: type[yaml.Token]) -> None:
        """Begin a list or mapping in brackets; the scanner takes seconds for thousands of them."""
        if self.flow_level >= DEEPEST:
            raise yaml.scanner.ScannerError(None, None, f"more than {DEEPEST} levels", self.get_mark())
        super().fetch_flow_collection_start(token)

    def get_single_node(self) -> yaml.Node | None:
        """Return the document's node; too large a one is an error before anything is made of it."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            self._measure(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping; a key that stands twice is an error."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused below, with its line
            if key in seen:
                raise _error(f"the key '{key}' stands twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def _measure(self, node: yaml.Node, known: dict[int, Size | None]) -> Size:
        """Return what a node would be without aliases. known: sizes of nodes, None while one is being measured."""
        if isinstance(node, yaml.ScalarNode):
            return 1 + len(node.value) // LONG, 1
        if id(node) in known:
            if (size := known[id(node)]) is None:
                raise _error("an alias stands inside of its own anchor", node)
            return size
        known[id(node)] = None
        values = levels = 0
        for child in chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value:
            more, deep = self._measure(child, known)
            values, levels = values + more, max(levels, deep)
            if values > MOST_VALUES:
                raise _error(f"more than {MOST_VALUES:,} values, each alias counted as all that it stands for", node)
        if levels == DEEPEST:
            raise _error(f"more than {DEEPEST} levels", node)
        known[id(node)] = values + 1, levels + 1
        return values + 1, levels + 1


def _error(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain data of a YAML text; `where` names it in errors."""
    if len(text) > MOST_CHARACTERS:
        raise UserError(f"{where}: must have at most {MOST_CHARACTERS:,} characters, it has more. Give a smaller one.")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 -- a SafeLoader
    except RecursionError:
        raise UserError(f"{where}: is nested too deeply. Correct it and try again.") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0] or type(error).__name__
        line = f" (line {mark.line + 1})" if mark else ""
        raise UserError(f"{where}: is not valid YAML{line}: {problem}. Correct it and try again.") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)  # it may have no end
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a text file ({error}). Give a YAML file.") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise UserError(f"{path}: must hold fields as 'name: value', got {type(data).__name__}. See experiments/.")
    return data
