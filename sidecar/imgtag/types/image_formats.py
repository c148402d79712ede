"""The image formats: how each is recognised and named, and whether it is decoded.

The sidecar and its workers both read this table. What an object is follows from its first bytes; suffix and content
type only decide whether it is looked at.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum

from imgtag.errors import Undecodable, Unreadable


class Support(StrEnum):
    """How imgtag treats files of a format."""

    DECODED = "decoded"
    EXTRA = "decoded with an extra"
    KNOWN = "known, not decoded"
    NO_IMAGE = "not an image"
    """Recognised so that a file with a misleading name gets a reason that says what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFormat:
    """A format by the names that people, files and servers give it; ``extra`` is the package extra that decodes it."""

    name: str
    support: Support
    suffixes: tuple[str, ...] = ()
    content_types: tuple[str, ...] = ()
    magics: tuple[bytes, ...] = ()
    brands: tuple[bytes, ...] = ()
    """Brands of the file type box of ISO 14496-12, major or compatible."""
    extra: str | None = None
    memory: int = 4
    """Bytes per pixel that decoding takes; for files that need more, the worker counts more."""


def _decoded(name: str, suffixes: str, content_types: str, *magics: bytes) -> ImageFormat:
    return _format(name, Support.DECODED, suffixes, content_types, *magics)


def _known(name: str, suffixes: str, content_types: str, *magics: bytes) -> ImageFormat:
    return _format(name, Support.KNOWN, suffixes, content_types, *magics)


def _format(name: str, support: Support, suffixes: str, content_types: str, *magics: bytes) -> ImageFormat:
    return ImageFormat(
        name=name,
        support=support,
        suffixes=tuple(suffixes.split()),
        content_types=tuple(content_types.split()),
        magics=magics,
    )


JPEG = _decoded("JPEG", ".jpg .jpeg .jpe .jfif .jif .mpo", "image/jpeg image/jpg image/pjpeg", b"\xff\xd8\xff")
PNG = _decoded("PNG", ".png .apng", "image/png image/apng image/x-png", b"\x89PNG\r\n\x1a\n")
GIF = _decoded("GIF", ".gif", "image/gif", b"GIF87a", b"GIF89a")
TIFF = _decoded("TIFF", ".tif .tiff", "image/tiff", b"II*\0", b"MM\0*")
WEBP = replace(_decoded("WebP", ".webp", "image/webp"), memory=12)
"""libwebp holds two frames as RGBA and gives away a third."""
BMP = _decoded("BMP", ".bmp .dib", "image/bmp image/x-ms-bmp")
AVIF = ImageFormat(
    name="AVIF",
    support=Support.DECODED,
    suffixes=(".avif", ".avifs"),
    content_types=("image/avif",),
    brands=(b"avif", b"avis"),
    memory=8,
)
HEIC = ImageFormat(
    name="HEIC",
    support=Support.EXTRA,
    suffixes=(".heic", ".heif", ".heics", ".hif"),
    content_types=("image/heic", "image/heif"),
    brands=(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"),
    extra="heif",
    memory=9,  # as YCbCr, as RGB, and what the decoder has not given back
)
RAW = _decoded("Camera RAW", ".dng .cr2 .nef .nrw .arw", "image/x-adobe-dng image/x-canon-cr2 image/x-nikon-nef")
"""By its first bytes a TIFF. Only the JPEG preview in the file is decoded, never the sensor data."""

FORMATS = (
    JPEG,
    PNG,
    WEBP,
    GIF,
    BMP,
    TIFF,
    AVIF,
    HEIC,
    RAW,
    ImageFormat(name="Canon CR3", support=Support.KNOWN, suffixes=(".cr3",), brands=(b"crx ",)),
    _known("Fujifilm RAF", ".raf", "image/x-fuji-raf", b"FUJIFILMCCD-RAW "),
    _known("Olympus ORF", ".orf", "image/x-olympus-orf", b"IIRO", b"IIRS", b"MMOR"),
    _known("Panasonic RW2", ".rw2", "image/x-panasonic-rw2", b"IIU\0"),
    ImageFormat(
        name="HEIF", support=Support.KNOWN, brands=(b"mif1", b"msf1", b"mif2", b"j2ki", b"jpeg", b"avci", b"vvic")
    ),
    _known("JPEG XL", ".jxl", "image/jxl", b"\xff\x0a", b"\0\0\0\x0cJXL "),
    _known("JPEG 2000", ".jp2 .j2k .jpf .jpx", "image/jp2 image/jpx", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    _known("JPEG XR", ".jxr .wdp .hdp", "image/jxr image/vnd.ms-photo", b"II\xbc"),
    _known("BigTIFF", ".btf", "", b"II+\0", b"MM\0+"),
    _known("Photoshop", ".psd .psb", "image/vnd.adobe.photoshop", b"8BPS"),
    _known("SVG", ".svg", "image/svg+xml"),
    _known("ICO", ".ico .cur", "image/vnd.microsoft.icon image/x-icon"),
    _known("Netpbm", ".ppm .pgm .pbm .pnm .pam", "image/x-portable-anymap image/x-portable-pixmap"),
    _known("PFM", ".pfm", ""),
    _known("QOI", ".qoi", "image/qoi", b"qoif"),
    _known("OpenEXR", ".exr", "image/x-exr", b"v/1\x01"),
    _known("Radiance HDR", ".hdr", "image/vnd.radiance", b"#?RADIANCE", b"#?RGBE"),
    _known("DDS", ".dds", "image/vnd.ms-dds", b"DDS "),
    _known("XCF", ".xcf", "image/x-xcf", b"gimp xcf "),
    _known("DjVu", ".djvu .djv", "image/vnd.djvu", b"AT&TFORM"),
    _known("ICNS", ".icns", "image/icns", b"icns"),
    _known("PCX", ".pcx", "image/x-pcx"),
    _known("TGA", ".tga", "image/x-tga"),
    _known("Sun raster", ".ras", "image/x-cmu-raster", b"\x59\xa6\x6a\x95"),
    _known("SGI", ".sgi .rgb", "image/sgi"),
    _known("FITS", ".fits", "image/fits", b"SIMPLE  ="),
    _known("FLIF", ".flif", "image/flif", b"FLIF"),
    _known("BPG", ".bpg", "image/bpg", b"BPG\xfb"),
    _known("WMF", ".wmf", "image/wmf", b"\xd7\xcd\xc6\x9a"),
    _known("XPM", ".xpm", "image/x-xpixmap", b"/* XPM */"),
    _known("XBM", ".xbm", "image/x-xbitmap"),
    _format("PDF", Support.NO_IMAGE, "", "", b"%PDF"),
    _format("PostScript", Support.NO_IMAGE, "", "", b"%!PS", b"\xc5\xd0\xd3\xc6"),
    _format("Matroska video", Support.NO_IMAGE, "", "", b"\x1aE\xdf\xa3"),
    ImageFormat(
        name="MP4 video",
        support=Support.NO_IMAGE,
        brands=(
            b"isom",
            b"iso2",
            b"iso4",
            b"iso5",
            b"iso6",
            b"mp41",
            b"mp42",
            b"avc1",
            b"qt  ",
            b"M4V ",
            b"3gp4",
            b"3gp5",
        ),
    ),
)
"""In the order in which they are tried: if a file has the brands of two formats, the first one counts."""
SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
"""Suffixes of images, in lower case."""
CONTENT_TYPES = {suffix: each.content_types[0] for each in FORMATS if each.content_types for suffix in each.suffixes}
"""The content type of a file by its suffix."""

_BY_NAME = {each.name: each for each in FORMATS}
_BITMAP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
"""Lengths of the header after a bitmap's file header. ``BM`` alone is not enough: text may begin with it."""
_MAX_SVG_PROLOGUE = 1_024
"""Bytes searched for the root element, which may follow declarations and comments."""
_MAX_BRANDS = 32
_MAX_ICONS = 64
_NETPBM = re.compile(rb"P([1-7])(?:\s+|\s*#[^\n]*\n\s*)+(?:\d+\s|WIDTH|#)")
_FLOATMAP = re.compile(rb"P[Ff]\s+\d+\s+\d+\s+-?\d")
_XBM = re.compile(rb"#define\s+\S+_width\s+\d+")
_PCX = re.compile(rb"\x0a[\x00\x02-\x05][\x00\x01][\x01\x02\x04\x08]")
_SGI = re.compile(rb"\x01\xda[\x00\x01][\x01\x02]\x00[\x01-\x03]")
_GZIP = b"\x1f\x8b\x08"
_COMPRESSED = ((_GZIP, "gzip"), (b"\x28\xb5\x2f\xfd", "Zstandard"), (b"\x1f\x9d", "compress"), (b"BZh", "bzip2"))
_MAX_HEAD = 4_096
"""Bytes that are enough to recognise a format."""

DECODED_FORMATS = ", ".join(each.name for each in FORMATS if each.support is Support.DECODED)


def identify(data: bytes) -> ImageFormat | None:
    """The format by the first bytes; None if they belong to no format in the table."""
    by_magic = next((each for each in FORMATS if each.magics and data.startswith(each.magics)), None)
    return by_magic or _identify_container(data) or _identify_structure(data)


def is_image(data: bytes) -> bool:
    """Whether the first bytes, decompressed if they are gzip's, begin an image of any format, decoded or not."""
    found = identify(decompressed_head(data))
    return found is not None and found.support is not Support.NO_IMAGE


def is_gzip(data: bytes) -> bool:
    """Whether the bytes are compressed, as stores keep them for ``Content-Encoding: gzip``."""
    return data.startswith(_GZIP)


def decompressed_head(data: bytes) -> bytes:
    """The first bytes, decompressed if they are gzip's."""
    if not is_gzip(data):
        return data
    try:
        return zlib.decompressobj(wbits=31).decompress(data[:_MAX_HEAD], _MAX_HEAD)
    except zlib.error:
        return b""


def require_decoded(data: bytes, extras: frozenset[str]) -> ImageFormat:
    """The format, if it is decoded; ``extras`` are the installed ones.

    Raises Undecodable if ``data`` is not an image, Unreadable if its format is known but not decoded.
    """
    if not data:
        raise Undecodable("the object is empty", code="empty")
    found = identify(data)
    if found is None:
        begin = repr(data[:8]).removeprefix("b")
        compressed = next((name for magic, name in _COMPRESSED if data.startswith(magic)), None)
        what = f"it is compressed with {compressed}" if compressed else f"it begins with {begin}"
        raise Undecodable(f"the content is not an image ({what})", code="not_an_image")
    if found.support is Support.DECODED or (found.extra in extras and found.extra):
        return found
    if found.extra:
        hint = f"Install the extra: `pip install 'imgtag-sidecar[{found.extra}]'`, then retry the object."
        message = f"{found.name} needs the extra `{found.extra}`, which is not installed"
        raise Unreadable(message, hint=hint, code="unsupported_format")
    raise Unreadable(f"{found.name} is not decoded; {DECODED_FORMATS} are", code="unsupported_format")


def _identify_container(data: bytes) -> ImageFormat | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[4:8] != b"ftyp":
        return None
    # The major brand may name only the container (`mif1`); then the compatible brands name the content.
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MAX_BRANDS, len(data))
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, end - 3, 4))}
    return next((each for each in FORMATS if not brands.isdisjoint(each.brands)), None)


def _identify_structure(data: bytes) -> ImageFormat | None:
    """Formats whose magic number is too short or too common to be enough."""
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS:
        return BMP
    head = data[:_MAX_SVG_PROLOGUE]
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<svg" in head.lower():
        return _BY_NAME["SVG"]
    if _is_icon(data):
        return _BY_NAME["ICO"]
    patterns = ((_NETPBM, "Netpbm"), (_FLOATMAP, "PFM"), (_XBM, "XBM"), (_PCX, "PCX"), (_SGI, "SGI"))
    return next((_BY_NAME[name] for pattern, name in patterns if pattern.match(head)), None)


def _is_icon(data: bytes) -> bool:
    """Many files begin with two zeros and a small number, so the first entry has to make sense, too."""
    count, offset = int.from_bytes(data[4:6], "little"), int.from_bytes(data[18:22], "little")
    return (
        data[:4] in {b"\0\0\1\0", b"\0\0\2\0"}
        and 1 <= count <= _MAX_ICONS
        and len(data) >= 22
        and data[9] == 0
        and offset >= 6 + 16 * count
    )
