"""Camera RAW (DNG, CR2, NEF, ARW): a TIFF of sensor data, with a JPEG preview of the same image."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgtag.workers.child.jpeg import read_structure

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_DIRECTORIES = 32
_MAX_ENTRIES = 512
_MAX_VALUES = 16
"""Of one tag: sub-directories, or strips of a preview."""
_COMPRESSION, _PHOTOMETRIC, _STRIP_OFFSETS, _STRIP_LENGTHS = 259, 262, 273, 279
_SUB_DIRECTORIES, _JPEG_OFFSET, _JPEG_LENGTH, _DNG_VERSION = 330, 513, 514, 50706
_RAW_PHOTOMETRICS = {32803, 34892}
"""Colour filter array, linear raw."""
_RAW_COMPRESSIONS = {32767, 32769, 34713, 34892, 65000, 65535}
"""Sony, packed, Nikon, lossy DNG, Kodak, Pentax."""
_JPEG_COMPRESSIONS = {6, 7}
_FORMATS = {3: "H", 4: "I", 13: "I"}


@dataclass(frozen=True)
class _Directory:
    """Tags with whole numbers."""

    tags: dict[int, tuple[int, ...]] = field(default_factory=dict)
    following: int = 0

    def value(self, tag: int) -> int | None:
        values = self.tags.get(tag)
        return values[0] if values else None


@dataclass(frozen=True)
class CameraRaw:
    """``preview`` is the largest decodable JPEG in the file, or None."""

    preview: bytes | None
    is_cut: bool
    """Whether the file ends before a place where a preview should be."""


def read_camera_raw(data: bytes) -> CameraRaw | None:
    """None if ``data``, a TIFF, does not come from a camera."""
    directories = list(_directories(data))
    is_raw = data[8:10] == b"CR" or any(
        directory.value(_PHOTOMETRIC) in _RAW_PHOTOMETRICS
        or directory.value(_COMPRESSION) in _RAW_COMPRESSIONS
        or _DNG_VERSION in directory.tags
        for directory in directories
    )
    if not is_raw:
        return None
    places = sorted({place for directory in directories for place in _jpegs(directory)}, key=lambda place: -place[1])
    jpegs = (data[at : at + length] for at, length in places if data[at : at + 3] == b"\xff\xd8\xff")
    # The sensor data of CR2 and DNG are a JPEG, too, but a lossless one.
    preview = next((jpeg for jpeg in jpegs if read_structure(jpeg).is_supported), None)
    return CameraRaw(preview, any(offset >= len(data) for offset, _ in places))


def _jpegs(directory: _Directory) -> Iterator[tuple[int, int]]:
    """Where JPEGs may be: offset and length."""
    offset, length = directory.value(_JPEG_OFFSET), directory.value(_JPEG_LENGTH)
    if offset and length:
        yield offset, length
    strips, lengths = directory.tags.get(_STRIP_OFFSETS, ()), directory.tags.get(_STRIP_LENGTHS, ())
    if directory.value(_COMPRESSION) in _JPEG_COMPRESSIONS and len(strips) == len(lengths) == 1:
        yield strips[0], lengths[0]


def _directories(data: bytes) -> Iterator[_Directory]:
    order = "<" if data[:2] == b"II" else ">"
    waiting, seen = [*struct.unpack_from(order + "I", data, 4)] if len(data) >= 8 else [], set[int]()
    while waiting and len(seen) < _MAX_DIRECTORIES:
        offset = waiting.pop(0)  # directories may name one another in a circle
        if offset and offset not in seen:
            seen.add(offset)
            directory = _read_directory(data, offset, order)
            waiting += [directory.following, *directory.tags.get(_SUB_DIRECTORIES, ())]
            yield directory


def _read_directory(data: bytes, offset: int, order: str) -> _Directory:
    if offset + 2 > len(data):
        return _Directory()
    (count,) = struct.unpack_from(order + "H", data, offset)
    end = offset + 2 + 12 * count
    if count > _MAX_ENTRIES or end > len(data):
        return _Directory()
    tags: dict[int, tuple[int, ...]] = {}
    for place in range(offset + 2, end, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", data, place)
        if tag == _DNG_VERSION:
            tags[tag] = ()
        elif kind in _FORMATS and 0 < length <= _MAX_VALUES:
            values = f"{order}{length}{_FORMATS[kind]}"
            at = place + 8
            if struct.calcsize(values) > 4:  # longer values are elsewhere, and their place is here
                (at,) = struct.unpack_from(order + "I", data, at)
            tags[tag] = struct.unpack_from(values, data, at) if at + struct.calcsize(values) <= len(data) else ()
    following = struct.unpack_from(order + "I", data, end)[0] if end + 4 <= len(data) else 0
    return _Directory(tags, following)
