"""One photograph in every encoding that cameras, scanners and programs write, and damaged as files are."""

from __future__ import annotations

import gzip
import struct
import zlib
from io import BytesIO
from itertools import pairwise

import numpy as np
import pillow_heif
from PIL import Image, ImageChops

from .pictures import chunk, encoded, exif, png

_ADOBE = b"\xff\xee\x00\x0eAdobe"


def encodings(photo: Image.Image) -> dict[str, bytes]:
    """Files by what they are; a classifier should say the same of each."""
    jpeg = encoded(photo, "JPEG", quality=92)
    whole_png = encoded(photo, "PNG")
    return {
        **_jpegs(photo, jpeg),
        **_pngs(photo, whole_png),
        **_tiffs(photo),
        **_others(photo, jpeg),
        "gzip of a JPEG": gzip.compress(jpeg),
        "JPEG without its end": jpeg[:-2],
        "JPEG cut by a twentieth": jpeg[: len(jpeg) * 19 // 20],
        "JPEG with bytes after its end": jpeg + b"\0" * 5_000,
        "PNG cut by a twentieth": whole_png[: len(whole_png) * 19 // 20],
        "PNG with a wrong CRC in pHYs": _spoilt(encoded(photo, "PNG", dpi=(72, 72)), b"pHYs"),
    }


def _jpegs(photo: Image.Image, jpeg: bytes) -> dict[str, bytes]:
    cmyk = photo.convert("CMYK")
    ink = encoded(ImageChops.invert(cmyk), "JPEG", quality=92)
    return {
        "JPEG": jpeg,
        "JPEG progressive": encoded(photo, "JPEG", quality=92, progressive=True),
        "JPEG 4:4:4": encoded(photo, "JPEG", quality=92, subsampling="4:4:4"),
        "JPEG grey": encoded(photo.convert("L"), "JPEG", quality=92),
        "JPEG lying on its side": encoded(
            photo.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=92, exif=exif(Orientation=6)
        ),
        "JPEG CMYK of Adobe": encoded(cmyk, "JPEG", quality=92),
        "JPEG CMYK without a marker": without_adobe(encoded(cmyk, "JPEG", quality=92)),
        "JPEG CMYK with ink as it is": without_adobe(ink),
    }


def _pngs(photo: Image.Image, whole: bytes) -> dict[str, bytes]:
    transparent = photo.copy()
    transparent.putalpha(255)
    deep = np.asarray(photo).astype(np.uint16)
    grey = np.asarray(photo.convert("L")).astype(np.uint16)
    return {
        "PNG": whole,
        "PNG palette": encoded(photo.quantize(), "PNG"),
        "PNG alpha": encoded(transparent, "PNG"),
        "PNG grey alpha": encoded(transparent.convert("LA"), "PNG"),
        "PNG 16-bit colour": deep_png(deep * 257),
        "PNG 12-bit colour in 16": deep_png(deep * 16),
        "PNG 12-bit colour in 16, said": deep_png(deep * 16, 12),
        "PNG 16-bit grey": deep_png(grey * 257),
        "PNG 12-bit grey in 16": deep_png(grey * 16),
        "PNG 12-bit grey in 16, said": deep_png(grey * 16, 12),
        "APNG after an empty frame": encoded(
            Image.new("RGBA", photo.size), "PNG", save_all=True, append_images=[transparent], default_image=False
        ),
    }


def _tiffs(photo: Image.Image) -> dict[str, bytes]:
    grey = np.asarray(photo.convert("L")).astype(np.uint16)
    return {
        **{
            f"TIFF {name}": encoded(photo, "TIFF", compression=name)
            for name in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        },
        "TIFF CMYK": encoded(photo.convert("CMYK"), "TIFF"),
        "TIFF LAB": encoded(_lab(photo), "TIFF"),
        "TIFF 16-bit grey": grey_tiff(grey * 257),
        "TIFF 16-bit grey, big-endian": grey_tiff(grey * 257, order=">"),
        "TIFF 16-bit white is zero": grey_tiff(65_535 - grey * 257, photometric=0),
        "TIFF 12-bit in 16": grey_tiff(grey * 16),
        "TIFF 12-bit in 16, big-endian": grey_tiff(grey * 16, order=">"),
        "TIFF float": encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
    }


def _others(photo: Image.Image, jpeg: bytes) -> dict[str, bytes]:
    transparent = photo.copy()
    transparent.putalpha(255)
    return {
        "WebP": encoded(photo, "WEBP", quality=90),
        "WebP lossless": encoded(photo, "WEBP", lossless=True),
        "WebP alpha": encoded(transparent, "WEBP", quality=90),
        "GIF": encoded(photo, "GIF"),
        "GIF after an empty frame": encoded(
            Image.new("P", photo.size),
            "GIF",
            save_all=True,
            append_images=[photo.quantize()],
            transparency=0,
            disposal=2,
        ),
        "BMP": encoded(photo, "BMP"),
        "BMP without its alpha filled in": bmp_with_alpha(photo, 0),
        "AVIF": encoded(photo, "AVIF", quality=80),
        "AVIF alpha": encoded(transparent, "AVIF", quality=80),
        "HEIC": heic(photo),
        "HEIC 10-bit": heic(photo, bits=10),
        "DNG": camera_raw(jpeg),
        "CR2": camera_raw(jpeg, magic=b"CR\x02\0"),
        "NEF": camera_raw(jpeg, compression=34713, sub_directories=True),
        "ARW": camera_raw(jpeg, compression=32767),
    }


def without_adobe(jpeg: bytes) -> bytes:
    """A JPEG that does not say how its colours are to be taken."""
    place = jpeg.index(_ADOBE)
    return jpeg[:place] + jpeg[place + 16 :]


def deep_png(values: np.ndarray, significant: int | None = None) -> bytes:
    """16 bits a sample; ``significant`` of them, as sBIT says."""
    height, width = values.shape[:2]
    samples = values.shape[2] if values.ndim == 3 else 1
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    bits = (chunk(b"sBIT", bytes([significant] * samples)),) if significant else ()
    return png(width, height, *bits, depth=16, colour=2 if samples == 3 else 0, pixels=rows)


def grey_tiff(values: np.ndarray, *, order: str = "<", photometric: int = 1) -> bytes:
    """16-bit grey in one strip, in either byte order."""
    height, width = values.shape
    pixels = values.astype(f"{order}u2").tobytes()
    entries = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(pixels)),
    ]
    return tiff_of(entries, pixels, order)


def tiff_of(entries: list[tuple[int, int, int]], pixels: bytes, order: str = "<", more: bytes = b"") -> bytes:
    """A TIFF of one directory after its pixels; entries are (tag, type, value)."""
    directory = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        directory += struct.pack(order + "HHI", tag, kind, 1) + packed
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", 8 + len(pixels)) + pixels + directory + bytes(4) + more


def bmp_with_alpha(photo: Image.Image, alpha: int) -> bytes:
    """A BMP with a V4 header and an alpha mask."""
    rows = np.asarray(photo)[::-1, :, ::-1]
    pixels = np.dstack([rows, np.full(rows.shape[:2], alpha, np.uint8)]).tobytes()
    header = struct.pack("<IiiHHIIiiII", 108, photo.width, photo.height, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 14 + 108 + len(pixels), 0, 0, 14 + 108) + header + pixels


def heic(photo: Image.Image, bits: int = 8, **options: object) -> bytes:
    """As a phone writes it."""
    buffer = BytesIO()
    if bits == 8:
        pillow_heif.from_pillow(photo).save(buffer, quality=90, **options)
    else:
        deep = (np.asarray(photo).astype(np.uint16) * 257).tobytes()
        pillow_heif.encode("RGB;16", photo.size, deep, buffer, quality=90, **options)
    return buffer.getvalue()


def camera_raw(
    preview: bytes, *, magic: bytes = b"", compression: int = 7, sub_directories: bool = False, order: str = "<"
) -> bytes:
    """A file of a camera: a small picture in the first directory, raw pixels in a second one, and a JPEG preview."""
    raw = bytes(range(256)) * 16
    start = 8 + len(magic) + 4
    places = [start, start + len(raw)]
    preview_tags = [(259, 3, 6), (513, 4, places[1]), (514, 4, len(preview)), (254, 4, 1)]
    raw_tags = [
        (254, 4, 0),
        (256, 4, 64),
        (257, 4, 64),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 32803),
        (273, 4, places[0]),
        (279, 4, len(raw)),
    ]
    first_place = places[1] + len(preview)
    size = 2 + 12 * (len(preview_tags) + 1) + 4
    first = sorted([*preview_tags, (330, 4, first_place + size)] if sub_directories else preview_tags)
    size = 2 + 12 * len(first) + 4
    following = 0 if sub_directories else first_place + size
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first_place) + magic
    body = head + bytes(start - len(head)) + raw + preview
    return body + _directory(first, order, following) + _directory(sorted(raw_tags), order, 0)


def _directory(entries: list[tuple[int, int, int]], order: str, following: int) -> bytes:
    packed = struct.pack(order + "H", len(entries))
    for tag, kind, value in entries:
        packed += struct.pack(order + "HHI", tag, kind, 1)
        packed += struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    return packed + struct.pack(order + "I", following)


def many_scans(photo: Image.Image, count: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times more."""
    jpeg = encoded(photo, "JPEG", progressive=True)
    scans = [place for place in range(len(jpeg) - 1) if jpeg[place : place + 2] == b"\xff\xda"]
    last = jpeg[scans[-1] : -2]
    assert all(first < second for first, second in pairwise(scans))
    return jpeg[:-2] + last * count + jpeg[-2:]


def _spoilt(whole: bytes, kind: bytes) -> bytes:
    """One wrong bit in the CRC of a chunk."""
    place = whole.index(kind) + 4 + int.from_bytes(whole[whole.index(kind) - 4 : whole.index(kind)], "big")
    assert zlib.crc32(whole[whole.index(kind) : place]) == int.from_bytes(whole[place : place + 4], "big")
    return whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]


def _lab(photo: Image.Image) -> Image.Image:
    from PIL import ImageCms  # noqa: PLC0415 - nothing else needs it

    return ImageCms.profileToProfile(
        photo, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
