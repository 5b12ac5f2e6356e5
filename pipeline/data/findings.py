"""The table of findings: everything that can be said about a file, what was done and what one can do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Effect = Literal["rejected", "removed", "changed", "reported"]


@dataclass(frozen=True)
class Finding:
    """One kind of finding.

    effect: rejected (not an image one can use), removed (a copy of another), changed (used, but not as it stands in
    the file) or reported (used as it is).
    done: what was done, in words. remedy: what one can do.
    """

    effect: Effect
    done: str
    remedy: str


ELONGATED = 2.0  # longer side / shorter side beyond which a picture is reported

FINDINGS: Mapping[str, Finding] = {
    "empty": Finding("rejected", "left out", "download or copy it again"),
    "not an image": Finding("rejected", "left out", "delete it, or convert it to PNG"),
    "damaged": Finding("rejected", "left out", "download or copy it again"),
    "unreadable": Finding("rejected", "left out", "allow reading it, or mend the link"),
    "not a file": Finding("rejected", "left out", "replace links and devices by files"),
    "archive inside": Finding("rejected", "left out", "give it as a --source of its own"),
    "animated": Finding("rejected", "left out", "export the frame that you want"),
    "too large": Finding("rejected", "left out", "scale it down first"),
    "unknown range": Finding("rejected", "left out", "convert it to 8 or 16 bits"),
    "duplicate": Finding("removed", "kept once", "nothing"),
    "near duplicate": Finding("reported", "kept", "look at them; --near-duplicates remove keeps one of each"),
    "rotated": Finding("changed", "turned as its EXIF orientation says", "nothing"),
    "transparent": Finding("changed", "put on white", "put it on a background of your own"),
    "CMYK": Finding("changed", "converted to RGB without its colour profile", "convert it to sRGB for true colours"),
    "16-bit": Finding("changed", "scaled to 8 bits", "nothing"),
    "palette": Finding("changed", "converted to RGB", "nothing; a palette of few colours leaves bands"),
    "grey": Finding("changed", "converted to RGB", "leave it out if colours matter"),
    "enlarged": Finding("changed", "scaled up to --image-size", "leave it out or use a smaller --image-size"),
    "elongated": Finding("changed", "fitted by --fit", "crop it by hand, or see the other --fit"),
}
NOTES = tuple(name for name, finding in FINDINGS.items() if finding.effect == "changed")  # of a loaded image
