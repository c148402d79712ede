"""Pictures, good and bad, made from nothing."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import ExifTags, Image

CORNERS = ((200, 30, 30), (30, 160, 40), (30, 40, 200), (220, 210, 40))
"""Colours of upper left, upper right, lower left, lower right."""
_DIRECTORIES = {"gps": ExifTags.IFD.GPSInfo, "details": ExifTags.IFD.Exif}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def scene(width: int = 320, height: int = 240) -> Image.Image:
    """A picture whose four corners have colours of their own, so that it is seen which side is up."""
    small = Image.new("RGB", (2, 2))
    small.putdata(CORNERS)
    return small.resize((width, height), Image.Resampling.NEAREST)


def noise(width: int, height: int, seed: int = 1) -> Image.Image:
    """Smooth colours with some noise, as a camera gives them."""
    down, across = np.mgrid[0:height, 0:width]
    colours = np.stack([across * 255 // width, down * 255 // height, (across + down) % 256], -1)
    grain = np.random.default_rng(seed).integers(0, 16, colours.shape)
    return Image.fromarray(np.clip(colours + grain, 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def corners(array: np.ndarray) -> list[tuple[int, ...]]:
    """The colours in the middle of each quarter."""
    height, width, _ = array.shape
    places = [
        (height // 4, width // 4),
        (height // 4, -width // 4),
        (-height // 4, width // 4),
        (-height // 4, -width // 4),
    ]
    return [tuple(int(value) for value in array[place]) for place in places]


def near(found: list[tuple[int, ...]], wanted: Any = CORNERS, by: int = 40) -> bool:
    return bool(np.abs(np.array(found) - np.array(wanted)).max() <= by)


def exif(**tags: Any) -> Image.Exif:
    """EXIF by the names of its tags; ``gps`` and ``details`` are dictionaries of their own."""
    made = Image.Exif()
    for name, value in tags.items():
        if name in _DIRECTORIES:
            made.get_ifd(_DIRECTORIES[name]).update(value)
            made[_DIRECTORIES[name]] = 0  # an offset that the writer fills in
        else:
            made[ExifTags.Base[name]] = value
    return made


_SIZES = {2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8}


def exif_block(entries: list[tuple[int, int, Any]]) -> bytes:
    """EXIF, byte by byte: (tag, type, bytes); of a directory within it its own entries instead of bytes."""
    return b"Exif\0\0II*\0\x08\0\0\0" + _exif_directory(entries, 8)


def _exif_directory(entries: list[tuple[int, int, Any]], offset: int) -> bytes:
    rows, values = b"", b""
    start = offset + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        place = start + len(values)
        if isinstance(value, list):
            values += _exif_directory(value, place)
            rows += struct.pack("<HHII", tag, kind, 1, place)
            continue
        count = len(value) // _SIZES[kind]
        if len(value) <= 4:
            rows += struct.pack("<HHI4s", tag, kind, count, value)
        else:
            rows += struct.pack("<HHII", tag, kind, count, place)
            values += value + bytes(len(value) % 2)
    return struct.pack("<H", len(entries)) + rows + bytes(4) + values


# PNG, chunk by chunk


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int,
    height: int,
    *between: bytes,
    depth: int = 8,
    colour: int = 2,
    pixels: bytes | None = None,
    interlaced: int = 0,
) -> bytes:
    """A PNG; without ``pixels`` a black one, packed without ever being held whole."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    body = chunk(b"IDAT", zlib.compress(pixels) if pixels is not None else _black(width, height, depth, colour))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(between) + body + chunk(b"IEND", b"")


def _black(width: int, height: int, depth: int, colour: int) -> bytes:
    packer = zlib.compressobj(9)
    row = bytes(1 + (width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8)
    return b"".join(packer.compress(row) for _ in range(height)) + packer.flush()


def deflated(size: int) -> bytes:
    """So many bytes of nothing, packed."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def gif_of(frames: int) -> bytes:
    """A GIF of so many frames of one pixel."""
    frame = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


def webp_of(frames: int) -> bytes:
    """A WebP whose frames are there, but empty."""
    body = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0\x0f\0\0\x0f\0\0" + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body += (b"ANMF" + struct.pack("<I", 16) + bytes(16)) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP that says that it is so large."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + sides
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def tiff(
    width: int,
    height: int,
    *,
    bits: int = 8,
    samples: int = 1,
    photometric: int = 1,
    form: int = 1,
    pixels: bytes = b"",
    more: tuple[tuple[int, int, int, int], ...] = (),
    order: str = "<",
) -> bytes:
    """A TIFF of one strip; ``more`` are tags as (tag, type, count, value)."""
    entries = sorted(
        [
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 3, 1, bits),
            (259, 3, 1, 1),
            (262, 3, 1, photometric),
            (273, 4, 1, 8),
            (277, 3, 1, samples),
            (278, 4, 1, height),
            (279, 4, 1, len(pixels)),
            (339, 3, 1, form),
            *more,
        ]
    )
    packed = (
        struct.pack(f"{order}HHIHH", *entry, 0) if entry[1] == 3 else struct.pack(f"{order}HHII", *entry)
        for entry in entries
    )
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(packed) + bytes(4)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + directory


def bad() -> dict[str, bytes]:
    """Inputs that somebody made in order to do harm, or that were never pictures, by what they are."""
    good = encoded(scene(), "JPEG")
    huge = bytes(60_000)
    return {
        "png of 400 megapixels": png(20_000, 20_000, colour=0, depth=1),
        "png of 90 megapixels": png(9_500, 9_500, colour=0),
        "png of 64 megapixels in colour": png(8_000, 8_000),
        "png of 40 megapixels in colour": png(6_900, 5_800),
        "png with a text of 256 MB": png(8, 8, chunk(b"zTXt", b"Comment\0\0" + deflated(256 << 20))),
        "png with a text of 256 MB in iTXt": png(8, 8, chunk(b"iTXt", b"Comment\0\1\0\0\0" + deflated(256 << 20))),
        "png with a profile of 256 MB": png(8, 8, chunk(b"iCCP", b"icc\0\0" + deflated(256 << 20))),
        "png of many texts": png(8, 8, *[chunk(b"zTXt", b"C\0\0" + deflated(4 << 20))] * 20),
        "gif of 5000 frames": gif_of(5_000),
        "webp of 5000 frames": webp_of(5_000),
        "webp of 268 megapixels": webp_canvas(16_384, 16_384),
        "gif of 4 gigapixels": b"GIF89a\xff\xff\xff\xff\x80\0\0" + gif_of(1)[13:],
        "jpeg of 4 gigapixels": _resized(good, 65_500, 65_500),
        "jpeg with a huge exif": good[:2]
        + b"\xff\xe1"
        + struct.pack(">H", len(huge) + 8)
        + b"Exif\0\0"
        + huge
        + good[2:],
        "tiff that says it is huge": tiff(200_000, 200_000, pixels=bytes(64)),
        "tiff whose directory points to itself": b"II*\0\x08\0\0\0\x01\0"
        + struct.pack("<HHII", 34665, 4, 1, 8)
        + b"\x08\0\0\0",
        "bmp that says it is huge": b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        "text named jpg": b"this is no picture at all\n" * 10,
        "text that begins with BM": b"BMW is a maker of cars, and this is a text.\n" * 10,
        "nothing": b"",
        "one byte": b"\xff",
        "zeros": bytes(5_000),
        "svg": b'<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50),
        "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(50),
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
        "pdf that is a jpeg too": b"%PDF-1.7\n" + good,
        "jpeg that is a zip too": good + b"PK\x03\x04" + bytes(200),
        "gif that is a script too": b"GIF89a/*" + bytes(3) + b"*/=alert(1)//;",
        **{f"cut {name}": encoded(noise(200, 150), name)[: _half(name)] for name in FORMATS},
    }


def _half(name: str) -> int:
    return len(encoded(noise(200, 150), name)) // 2


def _resized(jpeg: bytes, width: int, height: int) -> bytes:
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]
