"""AVIF and HEIC whose containers lie: made from files that tell the truth."""

from __future__ import annotations

import struct
from functools import cache
from io import BytesIO

import pillow_heif
from PIL import Image

from .pictures import encoded

_KINDS = {"AVIF": (b"avif", b"av01", b"av1C"), "HEIC": (b"heic", b"hvc1", b"hvcC")}


@cache
def plain(kind: str, width: int, height: int) -> bytes:
    """Two colours, which take few bytes however many pixels there are."""
    picture = Image.new("RGB", (width, height), (200, 30, 40))
    picture.paste((0, 90, 255), (0, 0, width // 2, height // 2))
    if kind == "AVIF":
        return encoded(picture, "AVIF", speed=10)
    buffer = BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, enc_params={"preset": "ultrafast"})
    return buffer.getvalue()


def saying(data: bytes, before: tuple[int, int], after: tuple[int, int]) -> bytes:
    """The file with another size in its container (ispe)."""
    old, new = (b"ispe" + struct.pack(">III", 0, *size) for size in (before, after))
    assert old in data
    return data.replace(old, new)


def derived(
    kind: str,
    tile: tuple[int, int],
    *,
    tile_says: tuple[int, int] | None = None,
    count: tuple[int, int] = (2, 2),
    says: tuple[int, int],
    has: tuple[int, int],
    overlay: bool = False,
) -> bytes:
    """A grid of columns and rows, or an overlay, of equal tiles.

    ``says`` is its size by the container, ``has`` by its own data.
    """
    brand, coded, configuration = _KINDS[kind]
    file = plain(kind, *tile)
    data, columns, rows = content(file, b"mdat"), *count
    tiles = range(2, 2 + columns * rows)
    if overlay:
        name, body = b"iovl", bytes(10) + struct.pack(">HH", *has) + bytes(4 * len(tiles))
    else:
        name, body = b"grid", struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, *has)

    def head(start: int) -> bytes:
        entries = [full_box(b"infe", 2, struct.pack(">HH", 1, 0), name, b"\0")]
        entries += [full_box(b"infe", 2, struct.pack(">HH", tile, 0), coded, b"\0") for tile in tiles]
        places = [struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(body))]
        places += [struct.pack(">HHHHII", tile, 0, 0, 1, start, len(data)) for tile in tiles]
        made_of = box(b"dimg", struct.pack(f">{2 + len(tiles)}H", 1, len(tiles), *tiles))
        properties = [
            full_box(b"ispe", 0, struct.pack(">II", *says)),
            full_box(b"ispe", 0, struct.pack(">II", *(tile_says or tile))),
            box(configuration, content(file, configuration)),
            full_box(b"pixi", 0, bytes([3, 8, 8, 8])),
        ]
        associations = [struct.pack(">HBBB", 1, 2, 1, 4)]
        associations += [struct.pack(">HBBBB", tile, 3, 2, 0x83, 4) for tile in tiles]
        total = struct.pack(">H", 1 + len(tiles))
        return box(b"ftyp", brand, bytes(4), b"mif1miaf", brand) + full_box(
            b"meta",
            0,
            full_box(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", 0, b"\0\1"),
            full_box(b"iloc", 1, b"\x44\0", total, *places),
            full_box(b"iinf", 0, total, *entries),
            full_box(b"iref", 0, made_of),
            box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", 0, bytes(2), total, *associations)),
            box(b"idat", body),
        )

    return head(len(head(0)) + 8) + box(b"mdat", data)


def animated(first: Image.Image, *others: Image.Image, last: bytes = b"") -> bytes:
    """An animated AVIF; ``last`` replaces the coded bytes of its last image."""
    data = encoded(first, "AVIF", save_all=True, append_images=others, speed=10)
    if not last:
        return data
    place = data.index(b"stsz") + 12 + 4 * len(others)
    (length,) = struct.unpack_from(">I", data, place + 4)
    coded = data.rindex(b"mdat") - 4
    (size,) = struct.unpack_from(">I", data, coded)
    assert coded + size == len(data)
    longer = struct.pack(">I", size - length + len(last))
    return (
        data[: place + 4]
        + struct.pack(">I", len(last))
        + data[place + 8 : coded]
        + longer
        + data[coded + 4 : len(data) - length]
        + last
    )


def content(data: bytes, name: bytes) -> bytes:
    """What the first box of this name has in it."""
    place = data.index(name)
    (size,) = struct.unpack_from(">I", data, place - 4)
    return data[place + 4 : place - 4 + size]


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def full_box(name: bytes, version: int, *parts: bytes) -> bytes:
    return box(name, bytes([version, 0, 0, 0]), *parts)
