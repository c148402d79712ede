"""TIFF directories, which EXIF blocks are as well: what their tags take is counted before Pillow reads them.

Pillow makes a Python object of each number, and a list entry of each strip: megabytes become gigabytes.
"""

from __future__ import annotations

import struct
from io import BytesIO
from typing import IO, NamedTuple

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from imgtag.errors import Unreadable

MAX_NUMBERS = 8 << 20
"""Bytes of objects that the numbers of one directory may take; of a photograph they take kilobytes."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value, by type (TIFF 6.0, page 15)."""
_TEXTS, _FRACTIONS = {1, 2, 7}, {5, 10}
_STRIP_OFFSETS, _STRIP_LENGTHS, _TILE_OFFSETS, _TILE_LENGTHS = 273, 279, 324, 325
_PLACES = {_STRIP_OFFSETS, _TILE_OFFSETS}
_COUNTED_APART = {*_PLACES, _STRIP_LENGTHS, _TILE_LENGTHS}
_NUMBER, _FRACTION, _STRIP, _COPIES = 40, 300, 350, 3
"""Bytes of an object, of a fraction, of a strip with its numbers; copies of a text or of bytes. All measured."""


class DirectoryCost(NamedTuple):
    """Bytes that reading the tags takes: objects of numbers, texts and bytes, strips or tiles."""

    numbers: int = 0
    texts: int = 0
    strips: int = 0


def directory_cost(file: IO[bytes], order: str, *, big: bool = False) -> DirectoryCost:
    """The cost of the directory at the present place, where ``file`` stays. ``order`` is that of `struct`."""
    place = file.tell()
    try:
        count_format, entry_format = ("Q", "HHQ8x") if big else ("H", "HHI4x")
        head = file.read(struct.calcsize(order + count_format))
        if len(head) < struct.calcsize(order + count_format):
            return DirectoryCost()
        entry = struct.Struct(order + entry_format)
        entries = file.read(struct.unpack(order + count_format, head)[0] * entry.size)
    finally:
        file.seek(place)
    numbers = texts = strips = 0
    for tag, kind, count in entry.iter_unpack(entries[: len(entries) // entry.size * entry.size]):
        if kind not in _SIZES:
            continue  # Pillow skips it as well
        if tag in _COUNTED_APART:
            strips += count * (_STRIP if tag in _PLACES else _NUMBER)
        elif kind in _TEXTS:
            texts += count * _COPIES
        else:
            numbers += count * (_FRACTION if kind in _FRACTIONS else _NUMBER)
    return DirectoryCost(numbers, texts, strips)


def first_directory_cost(data: bytes) -> DirectoryCost:
    """The cost of the first directory of a TIFF."""
    order, file = "<" if data[:2] == b"II" else ">", BytesIO(data)
    is_big = data[2:3] == b"+"  # as Pillow tells them apart
    width = "Q" if is_big else "I"
    head = data[8:16] if is_big else data[4:8]
    if len(head) < struct.calcsize(width):
        return DirectoryCost()
    file.seek(min(len(data), struct.unpack(order + width, head)[0]))
    return directory_cost(file, order, big=is_big)


def limit_directories() -> None:
    """Make Pillow refuse directories whose numbers take too much, wherever it meets one: in any format, also nested."""
    load = ImageFileDirectory_v2.load

    def load_checked(directory: ImageFileDirectory_v2, file: IO[bytes]) -> None:
        cost = directory_cost(file, directory._endian, big=directory._bigtiff)  # noqa: SLF001
        if cost.numbers > MAX_NUMBERS:
            message = f"its tags have so many numbers that these would take {cost.numbers >> 20} MiB"
            raise Unreadable(message, code="metadata_too_large")
        load(directory, file)

    ImageFileDirectory_v2.load = load_checked  # type: ignore[method-assign,assignment]
