"""What the headers of a file say, read without decoding anything."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

from imgtag.types.image_formats import AVIF, GIF, HEIC, PNG, WEBP, ImageFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

_EXTENSION, _IMAGE = 0x21, 0x2C
_MAX_CHUNKS = 64
_MAX_BOXES = 64
_CHUNK, _COPIES = 200, 2
"""Bytes of the object that a chunk of a PNG becomes, and how often its content is held."""
_MAX_COUNTED = 1 << 30
"""Bytes after which counting ends: no worker has so many."""
_MAX_PNG_TAIL = 4_096
"""Bytes in which the end of a PNG is looked for: some files have something after it."""


def count_frames(image_format: ImageFormat, data: bytes, limit: int) -> int:
    """Number of frames; counting stops after ``limit``. In a damaged file only readable frames count."""
    if image_format is GIF:
        return sum(1 for _ in islice(_gif_frames(data), limit + 1))
    if image_format is WEBP:
        place, frames = 12, 0
        while frames <= limit and place + 8 <= len(data):
            frames += data[place : place + 4] == b"ANMF"
            length = int.from_bytes(data[place + 4 : place + 8], "little")
            place += 8 + length + length % 2
        return max(frames, 1)
    return max(1, int.from_bytes(_png_chunks(data).get(b"acTL", b"")[:4], "big")) if image_format is PNG else 1


def metadata_bytes(image_format: ImageFormat, data: bytes) -> int:
    """About the bytes that a PNG's or WebP's chunks take that hold no pixels, in addition to the file."""
    order: Literal["little", "big"] = "big" if image_format is PNG else "little"
    place, pixels = (8, {b"IDAT", b"fdAT"}) if image_format is PNG else (12, {b"VP8 ", b"VP8L", b"ALPH", b"ANMF"})
    total = 0
    while place + 8 <= len(data) and total <= _MAX_COUNTED:
        names = data[place : place + 8]
        length, kind = (names[:4], names[4:]) if image_format is PNG else (names[4:], names[:4])
        count = int.from_bytes(length, order)
        if kind not in pixels:
            total += _CHUNK + _COPIES * min(count, len(data) - place)
        place += 12 + count if image_format is PNG else 8 + count + count % 2
    return total


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height. Pillow would make room for two whole frames before it says how large they are.

    None where the header is damaged (https://developers.google.com/speed/webp/docs/riff_container).
    """
    kind, header = data[12:16], data[20:30]
    if len(header) < 10:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(header[4:7], "little"), 1 + int.from_bytes(header[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(header[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(header[6:8], "little") & 0x3FFF, int.from_bytes(header[8:10], "little") & 0x3FFF
    return None


def declared_length(image_format: ImageFormat, data: bytes) -> int:
    """Length of the file by its own headers; its real length if its format has none."""
    if image_format is WEBP:
        return 8 + int.from_bytes(data[4:8], "little")
    if image_format not in {AVIF, HEIC}:
        return len(data)
    place = 0
    for _ in range(_MAX_BOXES):
        length = int.from_bytes(data[place : place + 4], "big")
        if length == 1:
            length = int.from_bytes(data[place + 8 : place + 16], "big")
        if length < 8 or place >= len(data):
            break
        place += length
    return max(place, len(data))


def ends_early(image_format: ImageFormat, data: bytes) -> bool:
    """Whether the file is shorter than its headers say, or lacks its end chunk."""
    if image_format is PNG:
        return b"IEND" not in data[-_MAX_PNG_TAIL:]
    return declared_length(image_format, data) > len(data)


def has_whole_directory(data: bytes) -> bool:
    """Whether the first directory of a TIFF is complete; without it nothing in the file makes sense."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    place = int.from_bytes(data[4:8], order)
    return place + 2 + 12 * int.from_bytes(data[place : place + 2], order) <= len(data) if place < len(data) else False


def significant_bits(data: bytes) -> int | None:
    """The significant bits of a PNG's samples (sBIT), if it names them."""
    body = _png_chunks(data).get(b"sBIT", b"")
    return max(body) if body else None


def _png_chunks(data: bytes) -> dict[bytes, bytes]:
    """Short chunks before the pixels, by name."""
    chunks: dict[bytes, bytes] = {}
    place = 8
    for _ in range(_MAX_CHUNKS):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if kind in {b"IDAT", b""}:
            break
        if length <= 32:
            chunks[kind] = data[place + 8 : place + 8 + length]
        place += 12 + length
    return chunks


def gif_frames_fit(data: bytes, canvas: tuple[int, int], limit: int) -> bool:
    """Whether none of the first ``limit`` frames reaches beyond the canvas."""
    frames = islice(_gif_frames(data), limit)
    return all(left + across <= canvas[0] and upper + down <= canvas[1] for left, upper, across, down in frames)


def _gif_frames(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Left, upper, width and height of each frame (https://www.w3.org/Graphics/GIF/spec-gif89a.txt)."""
    place = 13 + _palette_length(data[10] if len(data) > 10 else 0)
    while place < len(data) and data[place] in {_EXTENSION, _IMAGE}:
        if data[place] == _IMAGE:
            left, upper, width, height = (
                int.from_bytes(data[place + offset : place + offset + 2], "little") for offset in (1, 3, 5, 7)
            )
            yield left, upper, width, height
            place += 11 + _palette_length(data[place + 9] if place + 9 < len(data) else 0)
        else:
            place += 2
        while place < len(data) and data[place]:
            place += data[place] + 1
        place += 1


def _palette_length(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
