"""Turns matplotlib's SVG file into a small inline figure whose colours are CSS variables.

matplotlib writes absolute coordinates with six decimals, a font list and a marker per element, and
a style rule that would apply to the whole page. Here coordinates become relative with one decimal,
text has the page's font, and everything that the root element says is left out.
"""

import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from mvsa_pipe.reports.palette import SENTINELS

FONT_SIZE = 11
_VARIABLES = {colour: f"var(--{name})" for name, colour in SENTINELS.items()}
_COLOUR = re.compile("|".join(_VARIABLES))
_DROPPED = {"font-family", "stroke-linejoin", "stroke-linecap", "stroke-miterlimit"}
_INHERITED = {("text-anchor", "start"), ("font-size", f"{FONT_SIZE}px"), ("fill", "var(--ink)")}
_STEP = re.compile(r"([MLCQz])([^MLCQz]*)")
_HREF = "{http://www.w3.org/1999/xlink}href"


@dataclass(frozen=True)
class Placed:
    """A picture in the plot, in the plot's units.

    Attributes:
        href: Its data URI.
        x: Left edge.
        y: Upper edge.
        width: Width.
        height: Height.
    """

    href: str
    x: float
    y: float
    width: float
    height: float


def inline_svg(
    drawn: str, prefix: str, title: str, description: str, picture: Placed | None = None
) -> str:
    """An ``<svg>`` element for a page.

    Args:
        drawn: matplotlib's file.
        prefix: Start of every id in it.
        title: Its name for screen readers.
        description: Its main numbers in words.
        picture: A picture below the drawing.
    """
    # The file was written by matplotlib a moment ago; it is no input from outside.
    source = ET.fromstring(drawn.encode())  # noqa: S314
    _, _, wide, high = source.attrib["viewBox"].split()
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {wide} {high}",
            "role": "img",
            "aria-labelledby": f"{prefix}-t {prefix}-d",
            "style": (
                f"width:100%;max-width:{float(wide) * 1.35:.0f}px;height:auto;"
                f"font-size:{FONT_SIZE}px;fill:var(--ink);stroke-linejoin:round"
            ),
        },
    )
    ET.SubElement(root, "title", {"id": f"{prefix}-t"}).text = title
    ET.SubElement(root, "desc", {"id": f"{prefix}-d"}).text = description
    if picture is not None:
        root.append(_image(picture))
    ids: dict[str, str] = {}
    for child in source:
        root.extend(_smaller(child, prefix, ids))
    return ET.tostring(root, encoding="unicode")


def _image(picture: Placed) -> ET.Element:
    place = {name: f"{getattr(picture, name):.1f}" for name in ("x", "y", "width", "height")}
    return ET.Element("image", {"href": picture.href, "preserveAspectRatio": "none", **place})


def _smaller(
    element: ET.Element, prefix: str, ids: dict[str, str], defined: bool = False
) -> list[ET.Element]:
    """The elements that replace one of matplotlib's."""
    tag = element.tag.rpartition("}")[2]
    if tag in {"metadata", "style", "clipPath"}:
        return []
    children = [small for child in element for small in _smaller(child, prefix, ids, tag == "defs")]
    if tag == "g" or (tag == "defs" and not children):
        return children
    attributes: dict[str, str] = {}
    for name, value in element.attrib.items():
        attributes |= _attribute(name, value, prefix, ids, defined)
    small = ET.Element(tag, attributes)
    small.text = element.text if tag == "text" else None
    small.extend(children)
    return [small]


def _attribute(
    name: str, value: str, prefix: str, ids: dict[str, str], defined: bool
) -> dict[str, str]:
    match name:
        case "style":
            style = _style(value)
            return {"style": style} if style else {}
        case "d":
            return {"d": _path(value, 100 if defined else 10)}
        case "id":
            return {"id": _id(value, prefix, ids)} if defined else {}
        case _ if name == _HREF:
            return {"href": "#" + _id(value[1:], prefix, ids)}
        case "transform":
            rotation = re.sub(r"-?\d+\.\d+", lambda found: _short(found[0]), value)
            return {} if rotation.startswith("rotate(-0 ") else {"transform": rotation}
        case "clip-path":  # nothing is drawn outside the axes
            return {}
    return {name: _short(value)}


def _id(given: str, prefix: str, ids: dict[str, str]) -> str:
    return ids.setdefault(given, f"{prefix}-{len(ids)}")


def _short(value: str) -> str:
    try:
        return f"{float(value):.1f}".removesuffix(".0")
    except ValueError:
        return value


def _style(text: str) -> str:
    kept = []
    for declaration in text.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        value = _COLOUR.sub(lambda found: _VARIABLES[found[0]], value)
        if name and name not in _DROPPED and (name, value) not in _INHERITED:
            kept.append(f"{name}:{value}")
    return ";".join(kept)


def _path(data: str, scale: int) -> str:
    """The same path in relative steps of ``1 / scale`` units."""
    steps: list[str] = []
    here = start = (0, 0)
    for command, text in _STEP.findall(data):
        numbers = [round(float(part) * scale) for part in text.split()]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command == "z":
            steps.append("z")
            here = start
        elif command == "M":
            here = start = points[0]
            steps.append("M" + _joined(here, scale))
        else:
            steps.append(_relative(command, points, here, scale))
            here = points[-1]
    return "".join(steps)


def _relative(
    command: str, points: list[tuple[int, int]], here: tuple[int, int], scale: int
) -> str:
    moves = [(x - here[0], y - here[1]) for x, y in points]
    if command == "L":
        across, down = moves[0]
        if down == 0:
            return "" if across == 0 else "h" + _joined((across,), scale)
        if across == 0:
            return "v" + _joined((down,), scale)
    return command.lower() + _joined([number for move in moves for number in move], scale)


def _joined(numbers: tuple[int, ...] | list[int], scale: int) -> str:
    texts = [f"{number / scale:.2f}".rstrip("0").rstrip(".") for number in numbers]
    joined = texts[0]
    for text in texts[1:]:  # a minus sign separates, too
        joined += text if text.startswith("-") else f" {text}"
    return joined
