"""How many frames a picture has, without decoding one."""

from __future__ import annotations

from PIL import Image

_TRAILER, _EXTENSION, _IMAGE = 0x3B, 0x21, 0x2C


def count_frames(picture: Image.Image, data: bytes, most: int) -> int:
    """Frames of a picture; counting ends behind ``most``. Damaged files count what can be read."""
    if picture.format == "GIF":
        return _gif(data, most)
    return int(getattr(picture, "n_frames", 1)) if picture.format == "WEBP" else 1


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
