"""Types that the configuration is made of: strict, bounded, finite."""

import json
from typing import Annotated

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid", strict=True)
"""Unknown keys, and values of another type, are refused."""

Probability = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
PositiveInt = Annotated[int, Field(ge=1, le=10**9)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]

PRECISIONS = ("auto", "fp32", "tf32", "bf16")
"""Number formats of the networks' products."""


def plain_json(data: object) -> bytes:
    """Return plain data as JSON; what YAML has beyond it, such as dates, as text. Raises ValueError for the rest."""
    try:
        return json.dumps(data, default=str, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # a date as a key, a reference to itself, half a character
        raise ValueError(f"must hold plain texts, numbers and lists: {error}") from None
