"""Which format the first bytes say; names, suffixes and content types are not asked."""

from __future__ import annotations

from imgtag.errors import Undecodable, Unreadable

_FORMATS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_KNOWN = (
    (b"8BPS", "Photoshop"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"%PDF", "PDF"),
)
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "HEIC"),
    **dict.fromkeys((b"mif1", b"msf1"), "HEIF"),
    b"crx ": "Canon RAW",
}
_BITMAP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
"""Lengths that the header behind a bitmap's file header may have: ``BM`` alone begins many a text."""
_SVG = 1_024
"""Bytes in which the root element is looked for, behind declarations and comments."""
READ = "JPEG, PNG, WebP, GIF, BMP and TIFF are read"


def sniff(data: bytes) -> str | None:
    """Pillow's name of the format, or None where it is not one of those that are read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    return next((name for magic, name in _FORMATS if data.startswith(magic)), None)


def require_format(data: bytes) -> str:
    """The format. Raises Undecodable or Unreadable with a reason that a person understands."""
    if not data:
        raise Undecodable("the object is empty", code="empty")
    name = sniff(data)
    if name is not None:
        return name
    known = _known(data)
    if known:
        raise Unreadable(f"{known} is not read: {READ}", code="unsupported_format")
    begin = repr(data[:8]).removeprefix("b")
    raise Undecodable(f"the content is no picture (it begins with {begin}): {READ}", code="not_an_image")


def _known(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    if data[:_SVG].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and b"<svg" in data[:_SVG].lower():
        return "SVG"
    return next((name for magic, name in _KNOWN if data.startswith(magic)), None)
