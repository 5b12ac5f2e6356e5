"""Where a run was computed: a list of environments in a tag, one for each machine or version that had a part in it."""

import json
from collections.abc import Mapping

from pipeline.identity import hash_of

MOST = 8  # that a run remembers

Environment = Mapping[str, str]


def with_environment(known: str, environment: Environment) -> str:
    """Add an environment to a tag of a run that has some, unless it is there; the oldest of too many go."""
    earlier = [each for each in environments_in(known) if each != environment]
    return json.dumps([*earlier, dict(environment)][-MOST:], sort_keys=True)


def environments_in(tag: str) -> list[Environment]:
    """Return the environments of a tag, the last one last; none where it cannot be read."""
    try:
        found = json.loads(tag) if tag else []
    except (ValueError, RecursionError):
        return []
    entries = found if isinstance(found, list) else []
    return [{str(key): str(value) for key, value in each.items()} for each in entries if isinstance(each, dict)]


def name_of(environment: Environment) -> str:
    """Return a short name: equal environments have the same."""
    return hash_of(dict(environment))[:8]
