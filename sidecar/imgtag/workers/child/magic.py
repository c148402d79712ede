"""Which format the first bytes say; names, suffixes and content types are not asked."""

from __future__ import annotations

from imgtag.errors import Undecodable, Unreadable

_FORMATS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_KNOWN = (
    (b"8BPS", "Photoshop"),
    (b"<svg", "SVG"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"%PDF", "PDF"),
)
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"crx ": "Canon RAW"}
READ = "JPEG, PNG, WebP, GIF, BMP and TIFF are read"


def sniff(data: bytes) -> str | None:
    """Pillow's name of the format, or None where it is not one of those that are read."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _FORMATS if data.startswith(magic)), None)


def require(data: bytes) -> str:
    """The format. Raises Undecodable or Unreadable with a reason that a person understands."""
    if not data:
        raise Undecodable("the object is empty", code="empty")
    name = sniff(data)
    if name is not None:
        return name
    known = _known(data)
    if known:
        raise Unreadable(f"{known} is not read: {READ}", code="unsupported_format")
    raise Undecodable(f"the content is no picture (it begins with {data[:8]!r}): {READ}", code="not_an_image")


def _known(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    return next((name for magic, name in _KNOWN if data.startswith(magic)), None)
