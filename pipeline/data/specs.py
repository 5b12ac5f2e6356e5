"""How the text after --source is taken apart: KIND:WHAT[,OPTION=VALUE...]."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gan.errors import UserError

_OPTION = re.compile(r",(?=[a-z]+=)")


@dataclass(frozen=True)
class Spec:
    """A source as the user gave it: text = kind:what and options."""

    text: str
    kind: str
    what: str
    options: Mapping[str, str]


def parse_spec(text: str, kind: str, allowed: Iterable[str] = ()) -> Spec | None:
    """Take `text` apart if it begins with "kind:", else None. UserError for options that `kind` does not have.

    A comma belongs to WHAT unless "name=" follows.
    """
    if not text.startswith(f"{kind}:"):
        return None
    what, *pairs = _OPTION.split(text[len(kind) + 1 :])
    options = dict(pair.split("=", 1) for pair in pairs)
    allowed = tuple(allowed)
    for name, value in options.items():
        if name not in allowed:
            known = f"Its options are: {', '.join(allowed)}." if allowed else "Leave it out."
            raise UserError(f"--source: '{text}': {kind}: has no option '{name}'. {known}")
        if not value:
            raise UserError(f"--source: '{text}': option '{name}' is empty. Give {name}=VALUE, or leave it out.")
    if not what:
        raise UserError(f"--source: '{text}': says nothing after '{kind}:'. Give {kind}:WHAT.")
    return Spec(text, kind, what, options)
