"""What prepare was asked for: checked, described as JSON, compared with what is there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gan.errors import UserError
from pipeline.data import decoding
from pipeline.data.choices import NearDuplicates
from pipeline.data.dataset import check_name
from pipeline.data.items import Rule, Source
from pipeline.data.sources import open_source

IMAGE_SIZES = (8, 1024)
DEFAULT_RULE = Rule(image_size=64)


@dataclass(frozen=True)
class Request:
    """What was asked for. num_images None means all there are; held_out of them are for no training."""

    sources: Sequence[Source]
    name: str
    num_images: int | None
    rule: Rule
    held_out: int = 0
    near_duplicates: NearDuplicates = "report"

    def describe(self) -> dict[str, Any]:
        """Describe input, settings and rules as JSON: equal descriptions give the same dataset."""
        return {
            "sources": sorted((dict(source.fingerprint) for source in self.sources), key=str),
            "num_images": self.num_images,
            "image_size": self.rule.image_size,
            "resize_rule_version": decoding.RULE_VERSION,
            **({"fit": self.rule.fit} if self.rule.fit != DEFAULT_RULE.fit else {}),
            **({"held_out": self.held_out} if self.held_out else {}),
            **({"near_duplicates": "remove"} if self.near_duplicates == "remove" else {}),
        }

    def differences(self, manifest: Mapping[str, Any]) -> list[str]:
        """Say in words how the dataset of `manifest` differs from this request; empty if it does not."""
        prepared, asked = manifest["request"], self.describe()
        differences = [
            f"{key} {_shown(key, prepared.get(key))}, asked for {_shown(key, asked.get(key))}"
            for key in ("num_images", "image_size", "fit", "resize_rule_version", "held_out", "near_duplicates")
            if prepared.get(key) != asked.get(key)
        ]
        if prepared.get("sources") != asked["sources"]:
            before = [source["source"] for source in manifest["sources"]]
            now = [source.spec for source in self.sources]
            if before == now:
                differences.append(f"source {', '.join(now)} has changed since")
            else:
                differences.append(f"source {', '.join(before)}, asked for {', '.join(now)}")
        return differences


def make_request(
    specs: Sequence[str],
    name: str | None = None,
    num_images: int | None = None,
    rule: Rule = DEFAULT_RULE,
    held_out: int = 0,
    near_duplicates: NearDuplicates = "report",
) -> Request:
    """Check what the user said and find the sources; UserError for the first mistake. Nothing is decoded yet."""
    _check_numbers(num_images, rule.image_size, held_out)
    if name is not None:
        check_name(name, "--name")
    sources = _open(specs)
    name = _default_name(sources) if name is None else name
    return Request(sources, name, num_images or sources[0].default_num_images, rule, held_out, near_duplicates)


def _shown(key: str, value: object) -> str:
    missing = {"num_images": "all", "held_out": "0", "fit": "crop", "near_duplicates": "kept"}
    return missing.get(key, "none") if value is None else str(value)


def _open(specs: Sequence[str]) -> list[Source]:
    if not specs:
        raise UserError("--source: none given. Give a path or a built-in source.")
    sources = [open_source(spec) for spec in specs]
    endless = [source.spec for source in sources if source.default_num_images is not None]
    if endless and len(sources) > 1:
        raise UserError(f"--source: '{endless[0]}' is drawn without end and cannot be mixed. Prepare it on its own.")
    return sources


def _default_name(sources: Sequence[Source]) -> str:
    if len(sources) > 1:
        raise UserError("--name: is needed when there are several sources. Give the dataset a name.")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", sources[0].default_name).strip("-._")
    if not name:
        raise UserError(f"--name: none can be made from source '{sources[0].spec}'. Give the dataset a name.")
    return name


def _check_numbers(num_images: int | None, image_size: int, held_out: int) -> None:
    if num_images is not None and num_images < 1:
        raise UserError(f"--num-images: must be 1 or more, got {num_images}. Leave it out to keep all images.")
    if held_out < 0 or (held_out and num_images is not None and held_out > num_images - 2):
        most = "" if num_images is None else f" and leave 2 of the {num_images} images for training"
        raise UserError(f"--held-out: must be 0 or more{most}, got {held_out}. Hold out fewer.")
    low, high = IMAGE_SIZES
    if not low <= image_size <= high:
        raise UserError(f"--image-size: must be from {low} to {high} pixels, got {image_size}. The networks use 64.")
