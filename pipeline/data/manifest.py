"""The manifest of a dataset: what is known about it, checked strictly when it is read."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

FORMAT_VERSION = 1
COUNT = Annotated[int, Field(ge=0, le=2**53)]


class SourceEntry(BaseModel):
    """Where some of the images come from; counts as in pipeline.data.collection."""

    model_config = ConfigDict(strict=True, extra="allow")

    source: str
    kind: str
    kept: COUNT
    licence: str | None = None
    attribution: str | None = None


class Manifest(BaseModel):
    """What manifest.json holds. Fields that this version does not know are kept.

    digest: see pipeline.data.dataset.content_digest. findings: number of files by finding. request: what was asked
    for, see pipeline.data.request. Manifests of before a field existed lack it.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    format: int
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    num_images: Annotated[int, Field(ge=1, le=2**53)]
    num_held_out: COUNT = 0
    image_size: Annotated[int, Field(ge=1, le=2**14)]
    pixels: str = "unknown"
    resize_rule: str = "unknown"
    sources: list[SourceEntry] = Field(default_factory=list)
    counts: dict[str, COUNT] = Field(default_factory=dict)
    findings: dict[str, COUNT] = Field(default_factory=dict)
    request: dict[str, JsonValue]
    versions: dict[str, str | None] = Field(default_factory=dict)


def read_manifest(path: Path) -> dict[str, Any]:
    """Return the fields of a manifest, all that are missing and have a default filled in.

    Raises ValueError, in one line, where it is none, and OSError. The format is not judged: another version's manifest
    need not have these fields.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    version = content.get("format") if isinstance(content, dict) else None
    if type(version) is int and version != FORMAT_VERSION:
        return {"format": version}
    try:
        return Manifest.model_validate(content).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise ValueError(f"{place}: {first['msg']}") from error
