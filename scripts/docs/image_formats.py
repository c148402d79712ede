"""Every image format that imgtag recognises, and whether it decodes it."""

from __future__ import annotations

from forms import code, page, table

from imgtag.config.check import largest_images
from imgtag.config.schema import PipelineSettings
from imgtag.types.image_formats import FORMATS, RAW, ImageFormat, Support
from imgtag.types.picture_limits import WORKER_OVERHEAD
from imgtag.workers.child.completeness import MAX_MISSING
from imgtag.workers.child.decode import REDUCED_JPEG
from imgtag.workers.child.jpeg import MAX_SCANS

_INTRO = """\
The first bytes of an object decide its format; suffix and content type only decide whether imgtag looks at it. Of an
animation, imgtag labels the first frame that is not blank. Of a camera's RAW file, it decodes the JPEG preview. An
object in a recognised format that imgtag does not decode gets a document with the code `unsupported_format`."""

_LOOKED_AT = """\
## Which objects are examined { #examined }

imgtag examines an object if its content type begins with `image/`, or if its key ends in one of the suffixes above.
If the content type says nothing (none, `application/octet-stream`, `application/x-www-form-urlencoded`,
`multipart/form-data`, `*/*`, anything without a slash ...) and the suffix does not name another kind of file, the
first bytes decide: `2024.05.01 Beach`, `IMG_1.jpg.1` and `x.jpg_large` are examined. Everything else is passed over
without a document: objects with another content type, with the suffix of another kind of file, and objects of unknown
type that are larger than `max_bytes`.

Where imgtag finds an object in a listing, which has no content types, it also passes over one with the suffix of
another kind of file, unless it has a document: `poll`, folders, `backfill` and `audit`."""

_MISSING = f"""\
## Incomplete files {{ #incomplete }}

Up to {MAX_MISSING * 100:.0f} % of the pixels may be missing. It does not matter how: cut off, ended early by a
marker, damaged in the middle, or with a damaged chunk beside the pixels. Missing pixels are grey. With more missing,
the object has the status `failed` and the code `truncated`, or `undecodable` if the file does not end early."""

_COLOURS = """\
## Colours { #colours }

Transparent pixels become white, except in a BMP whose alpha is zero everywhere. Samples of 10, 12 or 14 bits that are
stored in 16 are stretched to the range that the file names (sBIT, BitsPerSample, MaxSampleValue), otherwise to their
own range if they never use the upper half. Floats and 32-bit samples are stretched between their extremes. A CMYK
JPEG without Adobe's marker is inverted if it would otherwise be mostly black."""

_FACTS = """\
## Date, camera and position { #facts }

imgtag reads EXIF first, then XMP, then the text of a PNG. A date may have any separator, an offset, fractions of a
second, or no time; it counts by the camera's clock, so an offset is not applied. Dates before 1970 are kept. A date
that is incomplete or ambiguous (`04/03/2017`, `1955:06:00`), and the zero of a clock (`1970:01:01 00:00:00`), is
ignored. A position needs a direction: a reference (`N`, `s`, `West`) or a minus sign. Two zeros, and a receiver that
reports no fix, are no position. Text is read as UTF-8 if it is valid UTF-8, otherwise as Latin-1."""


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
        _LOOKED_AT,
        _limits(),
        _MISSING,
        _COLOURS,
        _FACTS,
    )


def _limits() -> str:
    memory = {image_format.name: image_format.memory for image_format in FORMATS}
    largest = largest_images(PipelineSettings())
    rows = [(name, str(memory[name]), str(pixels // 10**6)) for name, pixels in largest.items()]
    return f"""\
## Limits {{ #limits }}

`max_pixels` is checked in the header, before anything is decoded. A JPEG that is decoded at half its size or less may
have {REDUCED_JPEG} times as many pixels: phones take photographs of 108 and 200 megapixels. Decoding must also fit
into `worker_memory`: the file, the pixels and {WORKER_OVERHEAD >> 20} MiB for everything else. An image that does not
fit is refused with the code `memory`, and its hint says how much to add. `imgtag config check` prints the limits that
follow from your settings.

{table(["Format", "Bytes per pixel", "Megapixels with the default settings"], rows)}
A JPEG takes next to nothing
unless it is progressive; then its coefficients take 3 (4:2:0) to 6 (4:4:4) bytes per pixel. A TIFF that is compressed
as one strip takes the strip in addition (3 bytes per pixel in colour). AVIF with more than eight bits or less
subsampling takes up to 12 bytes per pixel. A progressive JPEG with more than {MAX_SCANS} scans is refused
(`too_many_scans`): each scan costs a pass over the whole image. Of objects stored with `Content-Encoding: gzip`,
imgtag decompresses a copy in memory; the bytes of the object stay as they are."""


def _codes(texts: tuple[str, ...]) -> str:
    return ", ".join(map(code, texts)) or "-"


def _support(image_format: ImageFormat) -> str:
    if image_format is RAW:
        return "the JPEG preview is decoded"
    if image_format.extra:
        return f"decoded with the extra {code(image_format.extra)}"
    return "decoded" if image_format.support is Support.DECODED else "recognised, not decoded"
