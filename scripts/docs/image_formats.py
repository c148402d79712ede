"""Every image format that imgtag recognises, and whether it decodes it."""

from __future__ import annotations

from forms import code, page, table

from imgtag.types.image_formats import FORMATS, RAW, ImageFormat, Support

_INTRO = """\
The first bytes of an object decide its format; suffix and content type only decide whether imgtag looks at it. Of an
animation, imgtag labels the first frame that is not blank. Of a camera's RAW file, it decodes the JPEG preview. An
object in a recognised format that imgtag does not decode gets a document with the code `unsupported_format`."""


def image_formats() -> str:
    """Return the page."""
    rows = [
        (image_format.name, _codes(image_format.suffixes), _support(image_format))
        for image_format in FORMATS
        if image_format.support is not Support.NO_IMAGE
    ]
    others = ", ".join(image_format.name for image_format in FORMATS if image_format.support is Support.NO_IMAGE)
    return page(
        "Image formats",
        _INTRO,
        table(["Format", "Suffixes", "Support"], rows),
        f"imgtag also recognises {others}, to say why a file with a misleading name is not an image.",
    )


def _codes(texts: tuple[str, ...]) -> str:
    return ", ".join(map(code, texts)) or "-"


def _support(image_format: ImageFormat) -> str:
    if image_format is RAW:
        return "the JPEG preview is decoded"
    if image_format.extra:
        return f"decoded with the extra {code(image_format.extra)}"
    return "decoded" if image_format.support is Support.DECODED else "recognised, not decoded"
