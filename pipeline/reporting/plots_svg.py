"""SVG for a page that has others: ids of its own, the page's fonts and colours, nothing from outside, and small."""

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from pipeline.reporting.plots_draw import INK

LONG = 400  # characters of a path; it needs fewer decimals than a marker
NUMBER = re.compile(r"-?\d+\.\d+")
GEOMETRY = ("d", "x", "y", "width", "height", "transform")
DROPPED = {"metadata", "style"}  # a style would hold for the whole page


def page_svg(text: str, name: str, description: str, tooltips: Mapping[str, str]) -> str:
    """Return matplotlib's SVG for a page.

    name: what all ids begin with. tooltips: texts by the id of what they are of.
    """
    root = ElementTree.fromstring(text)  # noqa: S314 - of our own making
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    _drop(root)
    _name_ids(root, name, tooltips)
    for element in root.iter():
        _simplify(element)
    view = root.attrib["viewBox"]
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": view,
        "width": "100%",
        "role": "img",
        "aria-label": description,
        "style": "stroke-linejoin: round; stroke-linecap: butt",
    }
    return ElementTree.tostring(root, encoding="unicode")


def page_colour(colour: str) -> str:
    """Return a colour of a drawing as the page has it."""
    return "currentColor" if colour == INK else colour


def _drop(element: ElementTree.Element) -> None:
    """Drop what a page does not need: spaces between elements, empty groups and DROPPED."""
    if element.tag != "text":
        element.text = None
    for child in list(element):
        _drop(child)
        child.tail = None
        if child.tag in DROPPED or (child.tag in {"defs", "g"} and len(child) == 0):
            element.remove(child)


def _name_ids(root: ElementTree.Element, name: str, tooltips: Mapping[str, str]) -> None:
    """Give numbers to the ids that something refers to, drop the others and add the tooltips."""
    values = " ".join(value for element in root.iter() for value in element.attrib.values())
    used = set(re.findall(r"url\(#([^)]+)\)", values)) | {each.get("href", "")[1:] for each in root.iter("use")}
    names: dict[str, str] = {}
    for element in list(root.iter()):
        identity = element.attrib.pop("id", "")
        if identity in tooltips:
            title = ElementTree.Element("title")
            title.text = tooltips[identity]
            element.insert(0, title)
        if identity in used:
            element.set("id", names.setdefault(identity, f"{name}-{len(names)}"))
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "href" or value.startswith("url(#"):
                old = value.removeprefix("url(").strip("#)")
                element.set(key, value.replace(old, names[old]))


def _simplify(element: ElementTree.Element) -> None:
    """Round coordinates, and leave colour and font of texts to the page."""
    for key in GEOMETRY:
        if key in element.attrib:
            element.set(key, _rounded(element.attrib[key]))
    if element.get("transform", "").startswith("rotate(0 "):
        del element.attrib["transform"]
    if "style" in element.attrib:
        parts = [part for part in element.attrib["style"].split("; ") if not part.startswith("font-family")]
        element.set("style", "; ".join(parts).replace(INK, "currentColor"))


def _rounded(text: str) -> str:
    """Round all numbers of a path or of another geometry, and write a polygon the short way."""
    decimals = 1 if len(text) > LONG else 2
    numbers = NUMBER.sub(lambda match: f"{float(match.group()):.{decimals}f}".rstrip("0").rstrip("."), text)
    plain = " ".join(numbers.replace("-0 ", "0 ").split())
    return plain.replace(" L ", " ") if set(re.findall("[A-Za-z]", plain)) <= set("MLz") else plain
