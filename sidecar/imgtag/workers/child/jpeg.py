"""The structure of a JPEG, read without decoding it (https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_SCANS = 100
"""Each scan of a progressive JPEG costs a pass over the whole image; encoders write about ten."""
MAX_SEGMENTS = 10_000
"""Each becomes a Python object; of photographs a few dozen."""
END = b"\xff\xd9"

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xCA}
_DECODED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
"""Baseline, extended and progressive; not lossless and hierarchical ones."""
_COEFFICIENT = 2
"""Bytes."""
_NOISE = bytes(range(1, 128)) * 64
"""Contains no byte that could begin a marker."""


@dataclass
class JpegStructure:
    """What the markers say; ``layers`` has the sampling factors of each colour."""

    frame: int = 0
    precision: int = 8
    size: tuple[int, int] = (0, 0)
    layers: list[tuple[int, int]] = field(default_factory=list)
    scans: int = 0
    segments: int = 0
    head: int = 0
    """Bytes before the first scan: tables and metadata."""
    interleaved: bool = True
    """Whether the first scan holds all colours."""
    first_scan_end: int = 0
    last_scan_end: int = 0
    end: int | None = None
    """Offset of the end marker; None if the file ends before it."""

    @property
    def is_supported(self) -> bool:
        return self.frame in _DECODED and self.precision == 8

    @property
    def coefficient_bytes(self) -> int:
        """Bytes of all coefficients if they come in several scans: the decoder holds them at any output size."""
        if self.frame not in _PROGRESSIVE and self.interleaved:
            return 0
        across, down = (max(1, *(layer[axis] for layer in self.layers)) for axis in (0, 1))
        share = sum(a * d for a, d in self.layers) / (across * down)
        return int(self.size[0] * self.size[1] * share * _COEFFICIENT)


def read_structure(data: bytes) -> JpegStructure:
    """The structure of the first image in ``data``; of a damaged file, as much as can be read."""
    found, place = JpegStructure(), 2
    while found.scans <= MAX_SCANS and found.segments <= MAX_SEGMENTS and (match := _NEXT_MARKER.search(data, place)):
        marker, place = data[match.end() - 1], match.end()
        if marker == _END_OF_IMAGE:
            found.end = match.start()
            break
        if marker in _STANDALONE:
            continue
        found.segments += 1
        end = place + int.from_bytes(data[place : place + 2], "big")
        if end > len(data) or end < place + 2:
            break
        if marker in _FRAMES and not found.frame:
            _read_frame(found, marker, data[place + 2 : end])
        elif marker == _START_OF_SCAN:
            following = _NEXT_MARKER.search(data, end)
            scan_end = following.start() if following else len(data)
            if not found.scans:
                found.head = match.start()
                found.first_scan_end = scan_end
                found.interleaved = data[place + 2 : place + 3] == bytes([len(found.layers)])
            found.scans += 1
            found.last_scan_end = scan_end
        place = end
    return found


def completed(data: bytes, structure: JpegStructure) -> bytes:
    """The JPEG with an end marker, if it lacks one; the decoder then fills what is missing with grey."""
    return data if structure.end is not None else data[: structure.last_scan_end] + END


def with_noise(data: bytes, structure: JpegStructure) -> bytes:
    """The JPEG with noise after its first scan, which the decoder skips if that scan is complete."""
    return data[: structure.first_scan_end] + _NOISE + data[structure.first_scan_end :]


def _read_frame(found: JpegStructure, marker: int, body: bytes) -> None:
    if len(body) < 6:
        return
    found.frame, found.precision = marker, body[0]
    found.size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
    factors = body[7 : 6 + 3 * body[5] : 3]
    found.layers = [(max(1, factor >> 4), max(1, factor & 15)) for factor in factors]
