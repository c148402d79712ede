"""How many frames a picture has, and how large they are, without decoding one."""

from __future__ import annotations

_EXTENSION, _IMAGE = 0x21, 0x2C


def count_frames(name: str, data: bytes, most: int) -> int:
    """Frames of a picture; counting ends behind ``most``. Damaged files count what can be read."""
    if name == "GIF":
        return _gif(data, most)
    return _webp(data, most) if name == "WEBP" else 1


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


def _webp(data: bytes, most: int) -> int:
    place, frames = 12, 0
    while frames <= most and place + 8 <= len(data):
        frames += data[place : place + 4] == b"ANMF"
        length = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return max(frames, 1)


def _gif(data: bytes, most: int) -> int:
    """Walks the blocks (https://www.w3.org/Graphics/GIF/spec-gif89a.txt)."""
    place = 13 + _palette(data[10] if len(data) > 10 else 0)
    frames = 0
    while frames <= most and place < len(data) and data[place] in {_EXTENSION, _IMAGE}:
        if data[place] == _IMAGE:
            frames += 1
            place += 11 + _palette(data[place + 9] if place + 9 < len(data) else 0)
        else:
            place += 2
        place = _behind_sub_blocks(data, place)
    return frames


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _behind_sub_blocks(data: bytes, place: int) -> int:
    while place < len(data) and data[place]:
        place += data[place] + 1
    return place + 1
