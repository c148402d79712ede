"""The boxes of AVIF and HEIC: items with their sizes and bytes, and the samples of tracks.

ISO/IEC 14496-12 and 23008-12; https://aomediacodec.github.io/av1-avif
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from imgtag.errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_MAX_PARTS = 10_000
"""Boxes in a box, items, pieces of items, units of a sample: an image with as many tiles as it may have has 4,096."""
_SIZE_PLACES = {b"grid": 2, b"iovl": 8}
"""Images made from others, and the bytes between their flags and their size."""
_MAX_DERIVED = 64
"""Bytes of their data that are looked at."""

_Part = TypeVar("_Part")


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image of a file, or what belongs to one. ``sizes``: all that the container says it has, mostly one."""

    kind: bytes
    sizes: frozenset[tuple[int, int]]
    extents: Sequence[memoryview]

    @property
    def content(self) -> bytes | memoryview:
        """Its bytes; a copy only if they are in pieces."""
        return self.extents[0] if len(self.extents) == 1 else b"".join(self.extents)


def pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def bounded(parts: Iterable[_Part]) -> Iterator[_Part]:
    """The same parts. Raises Unreadable if there are too many to look at each."""
    for number, part in enumerate(parts):
        if number == _MAX_PARTS:
            raise Unreadable(f"the file has more than {_MAX_PARTS:,} parts of a kind", code="metadata_too_large")
        yield part


def read_items(data: bytes) -> Iterator[Item]:
    """All items. Raises ValueError for damaged tables; Unreadable."""
    view = memoryview(data)
    for meta in _find(view, b"meta"):
        boxes = _children(meta[4:])
        kinds = {number: kind for iinf in boxes[b"iinf"] for number, kind in _read_kinds(iinf)}
        declared = _read_sizes(boxes[b"iprp"])
        inner = boxes[b"idat"][0] if boxes[b"idat"] else view[:0]
        for iloc in boxes[b"iloc"]:
            for number, extents in bounded(_read_locations(iloc, view, inner)):
                kind = kinds.get(number, b"")
                sizes = declared[number] | _derived_sizes(kind, extents)
                yield Item(kind=kind, sizes=frozenset(sizes), extents=extents)


def read_tracks(data: bytes, kind: bytes) -> Iterator[Iterator[memoryview]]:
    """The samples of each track that is coded so. Raises ValueError for damaged tables."""
    view = memoryview(data)
    for table in _find(view, b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        boxes = _children(table)
        if any(kind in bytes(stsd) for stsd in boxes[b"stsd"]):
            yield _read_samples(boxes, view)


def _read_kinds(iinf: memoryview) -> Iterator[tuple[int, bytes]]:
    """The kind of each item."""
    for infe in _children(iinf[8 if iinf[0] else 6 :])[b"infe"]:
        end = 8 if infe[0] == 3 else 6
        yield int.from_bytes(infe[4:end], "big"), bytes(infe[end + 2 : end + 6])


def _read_sizes(properties: Iterable[memoryview]) -> Mapping[int, set[tuple[int, int]]]:
    """The sizes that items are associated with (ipma)."""
    sizes = defaultdict[int, set[tuple[int, int]]](set)
    for iprp in properties:
        boxes = _children(iprp)
        known = [prop for ipco in boxes[b"ipco"] for prop in bounded(_split(ipco))]
        for ipma in boxes[b"ipma"]:
            numbers = _Numbers(ipma)
            head = numbers.take(4)
            for _ in bounded(range(numbers.take(4))):
                item = numbers.take(4 if head >> 24 else 2)
                for _ in range(numbers.take(1)):
                    index = numbers.take(2) & 0x7FFF if head & 1 else numbers.take(1) & 0x7F
                    kind, content = known[index - 1] if 0 < index <= len(known) else (b"", ipma)
                    if kind == b"ispe":
                        sizes[item].add((int.from_bytes(content[4:8], "big"), int.from_bytes(content[8:12], "big")))
    return sizes


def _derived_sizes(kind: bytes, extents: Sequence[memoryview]) -> set[tuple[int, int]]:
    """The size that a grid or an overlay names in its own data."""
    if kind not in _SIZE_PLACES:
        return set()
    numbers = _Numbers(memoryview(b"".join(extent[:_MAX_DERIVED] for extent in extents)))
    width = 4 if numbers.take(2) & 1 else 2
    numbers.take(_SIZE_PLACES[kind])
    return {(numbers.take(width), numbers.take(width))}


def _read_locations(
    iloc: memoryview, data: memoryview, inner: memoryview
) -> Iterator[tuple[int, Sequence[memoryview]]]:
    """The number and the pieces of each item."""
    numbers = _Numbers(iloc)
    version = numbers.take(4) >> 24
    widths = numbers.take(2)
    offset, length, base, index = (widths >> shift & 15 for shift in (12, 8, 4, 0))
    pieces = bounded(itertools.count())
    for _ in range(numbers.take(2 if version < 2 else 4)):
        number = numbers.take(2 if version < 2 else 4)
        method = numbers.take(2) & 15 if version else 0
        numbers.take(2)  # the file: this one
        start, extents = numbers.take(base), []
        for _ in range(numbers.take(2)):
            next(pieces)
            numbers.take(index if version else 0)
            begin = start + numbers.take(offset)
            size = numbers.take(length)
            extents.append((inner if method else data)[begin : begin + size if size else None])
        yield number, extents


def _read_samples(boxes: dict[bytes, list[memoryview]], data: memoryview) -> Iterator[memoryview]:
    (runs,), (sizes,) = boxes[b"stsc"], boxes[b"stsz"]
    ((offsets, width),) = [(box, 8) for box in boxes[b"co64"]] + [(box, 4) for box in boxes[b"stco"]]
    run, size, offset = _Numbers(runs, 4), _Numbers(sizes, 4), _Numbers(offsets, 4)
    run_count, same_size, count, chunks = run.take(4), size.take(4), size.take(4), offset.take(4)
    following = run.take(4) if run_count else 0
    per_chunk = read = 0
    for chunk in bounded(range(1, chunks + 1)):
        if chunk == following:
            per_chunk, _ = run.take(4), run.take(4)
            run_count -= 1
            following = run.take(4) if run_count else 0
            if run_count and following <= chunk:
                raise ValueError("its chunks are not in order")
        place = offset.take(width)
        for _ in range(per_chunk):
            if read == count:
                return
            length = same_size or size.take(4)
            yield data[place : place + length]
            place, read = place + length, read + 1


def _find(data: memoryview, *kinds: bytes) -> list[memoryview]:
    """The contents of the boxes within boxes of these kinds."""
    boxes = [data]
    for kind in kinds:
        boxes = [inner for box in boxes for inner in _children(box)[kind]]
    return boxes


def _children(data: memoryview) -> dict[bytes, list[memoryview]]:
    """The contents of the boxes that ``data`` consists of, by kind."""
    boxes = defaultdict[bytes, list[memoryview]](list)
    for kind, content in bounded(_split(data)):
        boxes[kind].append(content)
    return boxes


def _split(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    place = 0
    while place + 8 <= len(data):
        head, length = 8, int.from_bytes(data[place : place + 4], "big")
        if length == 1:
            head, length = 16, int.from_bytes(data[place + 8 : place + 16], "big")
        elif length == 0:
            length = len(data) - place
        if length < head:
            return
        yield bytes(data[place + 4 : place + 8]), data[place + head : place + length]
        place += length


class _Numbers:
    """Big-endian numbers, one after the other; 0 has no bytes. Raises ValueError at the end."""

    def __init__(self, data: memoryview, place: int = 0) -> None:
        self._data = data
        self._place = place

    def take(self, count: int) -> int:
        self._place += count
        if self._place > len(self._data):
            raise ValueError("a table ends early")
        return int.from_bytes(self._data[self._place - count : self._place], "big")
