"""XMP: the few properties that facts are made of.

Read by their names as every program writes them, not as XML: whatever else is in the packet is not parsed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

_MAX_PACKET = 1 << 20
"""Bytes; cameras and editors write the properties that are looked for near the beginning."""
_MAX_VALUE = 200
_NAMES = (
    "exif:DateTimeOriginal",
    "exif:GPSLatitude",
    "exif:GPSLongitude",
    "photoshop:DateCreated",
    "tiff:Make",
    "tiff:Model",
    "xmp:CreateDate",
)
_PROPERTY = re.compile(
    rf"(?P<name>{'|'.join(_NAMES)})"
    rf"""(?:\s*=\s*(?:"(?P<double>[^"<]{{0,{_MAX_VALUE}}})"|'(?P<single>[^'<]{{0,{_MAX_VALUE}}})')"""
    rf"|>(?P<element>[^<]{{0,{_MAX_VALUE}}})</(?P=name)>)"
)


def read_xmp(packet: bytes | str | None) -> Mapping[str, str]:
    """The known properties of a packet by their names, the first of each; empty where there are none."""
    if not packet:
        return {}
    if isinstance(packet, bytes):  # UTF-8, as nearly all of them are, or UTF-16
        marks = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"<\0", "utf-16-le"))
        encoding = next((encoding for mark, encoding in marks if packet.startswith(mark)), "utf-8")
        packet = packet[:_MAX_PACKET].decode(encoding, errors="replace")
    properties: dict[str, str] = {}
    for match in _PROPERTY.finditer(packet[:_MAX_PACKET]):
        value = match["double"] or match["single"] or match["element"] or ""
        properties.setdefault(match["name"], html.unescape(value).strip())
    return properties
