"""SVG files made ready for a page: titles that show on hovering, ids that no other picture there has."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def for_page(svg: bytes, titles: Mapping[str, str], name: str) -> str:
    """The element of an SVG file, to stand inside HTML.

    Args:
        svg: a whole file of our own making.
        titles: what to show where one points at an element, by its id.
        name: begins every id afterwards; letters and digits.

    Returns:
        The element as text, as wide as its place; no XML declaration, no metadata.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(svg)
    for child in list(root):
        if child.tag == f"{{{_SVG}}}metadata":
            root.remove(child)
    for element in root.iter():
        title = titles.get(element.get("id", ""))
        if title is not None:
            note = ElementTree.Element(f"{{{_SVG}}}title")
            note.text = title
            element.insert(0, note)
        for key, value in element.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{_XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    return ElementTree.tostring(root, encoding="unicode")
