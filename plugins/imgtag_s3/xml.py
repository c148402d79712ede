"""S3's XML, without its namespaces."""

from __future__ import annotations

from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from urllib3.exceptions import ProtocolError

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

_DECLARATION = f' xmlns="{NAMESPACE}"'.encode()

Element = ET.Element


def parse(data: bytes) -> Element:
    """The root element, names without namespace. Raises ProtocolError where it is not XML."""
    # A listing has ten thousand elements, so its one namespace is not parsed at all.
    plain = data.replace(_DECLARATION, b"", 1)
    try:
        root = ET.fromstring(plain)  # noqa: S314
    except ET.ParseError as error:
        raise ProtocolError(f"not XML: {error}") from error
    if b"xmlns" not in plain:
        return root
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        for name in [name for name in element.attrib if "}" in name]:
            element.attrib[name.rpartition("}")[2]] = element.attrib.pop(name)
    return root


def render(root: Element) -> bytes:
    """The document, in the namespace of S3."""
    root.set("xmlns", NAMESPACE)
    return b"<?xml version='1.0' encoding='utf-8'?>" + ET.tostring(root, encoding="unicode").encode()


def text(element: Element, path: str) -> str:
    """Text of the first descendant there, or nothing."""
    return (element.findtext(path) or "").strip()


def decode_url(element: Element, path: str) -> str:
    """Text of a response to ``encoding-type=url``, which writes a space as `+`."""
    return unquote_plus(element.findtext(path) or "")


def add(root: Element, name: str, **texts: str) -> Element:
    """Append an element with these children."""
    element = ET.SubElement(root, name)
    for child, value in texts.items():
        ET.SubElement(element, child).text = value
    return element
