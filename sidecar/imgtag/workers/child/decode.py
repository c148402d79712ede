"""From the bytes of an object to an image for a classifier."""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL import Image as Pillow

from imgtag.errors import ImgtagError, Undecodable, Unreadable
from imgtag.plugin.image import Image
from imgtag.types.image_formats import (
    AVIF,
    BMP,
    GIF,
    HEIC,
    JPEG,
    PNG,
    TIFF,
    WEBP,
    ImageFormat,
    is_gzip,
    require_decoded,
)
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child import colours, depth, exif, headers, jpeg
from imgtag.workers.child.avif import read_avif_cost
from imgtag.workers.child.boxes import pixels
from imgtag.workers.child.camera_raw import read_camera_raw
from imgtag.workers.child.completeness import FILLINGS, MAX_MISSING, missing_rows, missing_share, trailing_grey
from imgtag.workers.child.describe import describe
from imgtag.workers.child.directories import first_directory_cost, limit_directories
from imgtag.workers.child.heif import HeicFile, declared_sizes, installed_extras
from imgtag.workers.child.raster import BufferRaster, PillowRaster, Raster, reduce_to_rgb

if TYPE_CHECKING:
    from imgtag.types.facts import Facts
    from imgtag.workers.child.colours import Converter

# Our own limits are checked from the header, before a pixel is decoded.
Pillow.MAX_IMAGE_PIXELS = None
# Text and colour profiles in a PNG are compressed; some programs write megabytes into them.
PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = 8 << 20, 32 << 20
limit_directories()
# Grey samples that Pillow reads in the other byte order, or with black as zero, only.
TiffImagePlugin.OPEN_INFO |= {
    (TiffImagePlugin.MM, 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (TiffImagePlugin.MM, 1, (1,), 1, (32,), ()): ("I", "I;32B"),
    (TiffImagePlugin.MM, 0, (1,), 1, (32,), ()): ("I", "I;32B"),
    (TiffImagePlugin.II, 0, (1,), 1, (32,), ()): ("I", "I;32N"),
}
# A worker has one core, and a thread's stack counts as its memory.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_READERS: dict[ImageFormat, type[ImageFile.ImageFile]] = {
    AVIF: AvifImagePlugin.AvifImageFile,
    BMP: BmpImagePlugin.BmpImageFile,
    GIF: GifImagePlugin.GifImageFile,
    JPEG: JpegImagePlugin.JpegImageFile,
    PNG: PngImagePlugin.PngImageFile,
    TIFF: TiffImagePlugin.TiffImageFile,
    WEBP: WebPImagePlugin.WebPImageFile,
}
"""The only decoders of Pillow that are ever loaded; the content of a file cannot select another."""
_EXTRAS = installed_extras()

_MARGIN = 8 / 7
"""How much larger than the model's input a picture is decoded: what ImageNet models crop away (1 / 0.875)."""
REDUCED_JPEG = 4
"""A JPEG that is decoded at half its size or less may have so many times the pixels: phones make 108 million."""
_FILE_SHARE = 4
"""A decompressed file may take a quarter of the memory of an image, because it is copied as it grows."""
_DEEP_FILLING = 0x0F0F
"""Nearly the greatest value of 12 bits; of two equal bytes, as Pillow fills with single ones."""
_MAX_BLANK_FRAMES = 32
"""Frames of an animation to try until one is not blank."""
_FRAME_BYTES = 16
"""Bytes per pixel for the second frame of an animation: Pillow holds it, the frame before, and their blend."""

_MAX_SIDE = 65_535
"""Pixels. JPEG, GIF and WebP admit no more, and no classifier gets anything out of a line."""
_MIN_ROW = 16
"""Bytes that a row takes however short it is: a pointer, and padding."""
_USUAL_METADATA = 1 << 20
"""Bytes of metadata that are not counted."""
_RLE = 4
"""Bytes per pixel while an RLE bitmap is decoded: Pillow collects the bytes in Python and copies them."""

_STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""Bytes per pixel by mode, unless they are four."""
_COMPRESSION, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH, _SAMPLES, _BITS = 259, 278, 322, 323, 277, 258

_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
"""The transposition that makes a picture upright, by EXIF orientation."""
_LYING = {5, 6, 7, 8}
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|unknown pixel mode|unknown data organization|cannot handle", re.IGNORECASE
)
"""Messages of decoders about intact files of a kind that they do not support."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A picture and what it says of itself."""

    image: Image
    facts: Facts


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A file and how to read it.

    ``beside``: bytes that its decoder holds in addition to the pixels; ``later``: the same for images of an animation
    after the first. ``filling`` replaces missing pixels; None: none may be missing.
    """

    format: ImageFormat
    data: bytes
    side: int
    limits: PictureLimits
    beside: int = 0
    later: int = 0
    filling: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """A small RGB picture in its stored orientation; ``size`` of the original; ``info`` as in Pillow."""

    picture: Pillow.Image
    size: tuple[int, int]
    exif: Pillow.Exif
    info: Mapping[Any, Any]


def decode(data: bytes, size: tuple[int, int], limits: PictureLimits) -> Decoded:
    """The first frame that is not blank, upright, RGB, and at least ``size`` if the original is.

    Raises Unreadable over a limit or for a format that is not decoded, Undecodable if the file is broken.
    """
    data = _decompressed(data, limits)
    # Both sides by the longer one: which is the width is known only once the picture is upright.
    side = round(max(size) * _MARGIN)
    source = _Source(format=require_decoded(data, _EXTRAS), data=data, side=side, limits=limits)
    try:
        with warnings.catch_warnings(), _explained(source):
            warnings.simplefilter("ignore")
            reading = _read_source(source)
            orientation = exif.orientation(reading.exif)
            upright = reading.picture.transpose(_TURNS[orientation]) if orientation in _TURNS else reading.picture
            shown = reading.size[::-1] if orientation in _LYING else reading.size
            return Decoded(image=Image(upright), facts=describe(reading.exif, reading.info, *shown))
    except MemoryError as error:
        raise Unreadable("decoding it takes more memory than worker_memory allows", code="memory") from error


def _decompressed(data: bytes, limits: PictureLimits) -> bytes:
    """The content of a gzip-encoded object; its ``Content-Encoding`` may be missing."""
    if not is_gzip(data):
        return data
    limit = limits.memory // _FILE_SHARE
    content = bytearray()
    try:
        while is_gzip(data) and len(content) <= limit:  # it may have several members, which are one content
            member = zlib.decompressobj(wbits=31)
            content += member.decompress(data, limit + 1 - len(content))
            data = member.unused_data
    except zlib.error as error:
        raise Undecodable("the gzip encoding of the object is damaged") from error
    if len(content) > limit:
        message = (
            f"its gzip encoding unpacks to more than {limit >> 20} MiB, which is what worker_memory leaves for a file"
        )
        raise Unreadable(message, hint="Raise `[pipeline] worker_memory`.", code="memory")
    return bytes(content)


def _read_source(source: _Source) -> _Reading:
    camera_raw = read_camera_raw(source.data) if source.format is TIFF else None
    if camera_raw is None:
        if source.format is JPEG:
            return _read_jpeg(source)
        metadata = 0
        if source.format is TIFF:
            cost = first_directory_cost(source.data)
            metadata = cost.texts + cost.strips
        elif source.format in {PNG, WEBP}:
            metadata = headers.metadata_bytes(source.format, source.data)
        source = replace(source, beside=max(0, metadata - _USUAL_METADATA))
        _require_memory(source.beside + len(source.data), "reading its metadata", source)
        return _read_most(source)
    if camera_raw.preview is None:
        if camera_raw.is_cut or not headers.has_whole_directory(source.data):
            raise _truncated(source)
        message = "this camera RAW file has no JPEG preview; RAW pixels are not decoded"
        raise Unreadable(message, code="unsupported_format")
    reading = _read_jpeg(replace(source, format=JPEG, data=camera_raw.preview))
    # Previews often lack EXIF; the camera writes it into the file's own directory.
    return replace(reading, exif=exif.read_tiff(source.data))


def _read_jpeg(source: _Source) -> _Reading:
    """Read a JPEG of which a little may be missing."""
    structure = jpeg.read_structure(source.data)
    if structure.scans > jpeg.MAX_SCANS:
        raise Unreadable(f"the JPEG has more than {jpeg.MAX_SCANS} scans", code="too_many_scans")
    if structure.segments > jpeg.MAX_SEGMENTS:
        raise Unreadable(f"the JPEG has more than {jpeg.MAX_SEGMENTS:,} segments", code="metadata_too_large")
    if structure.frame and not structure.is_supported:
        raise Unreadable("lossless, hierarchical and 12-bit JPEGs are not decoded", code="unsupported_format")
    cut = structure.end is None and structure.scans
    data = jpeg.completed(source.data, structure) if cut else source.data
    # Pillow keeps two copies of what stands before the image; a file that is cut is copied to be completed.
    copies = 2 * structure.head + (len(data) if cut else 0)
    whole = replace(source, data=data, beside=structure.coefficient_bytes + copies)
    _require_memory(copies + len(data), "reading its metadata", whole)
    with _explained(source):
        reading = _read(whole)
        if cut or trailing_grey(reading.picture):
            noisy = _read(replace(whole, data=jpeg.with_noise(data, structure), beside=whole.beside + len(source.data)))
            if missing_rows(reading.picture, noisy.picture) > MAX_MISSING:
                raise _truncated(source)
        return reading


def _read_most(source: _Source) -> _Reading:
    """Read a file of any other format, of which a little may be missing."""
    try:
        with _explained(source):
            return _read(source)
    except Undecodable as failure:
        if failure.code not in {"truncated", "undecodable"}:
            raise
        try:
            first, second = (_read(replace(source, filling=filling)) for filling in FILLINGS)
        except Exception:  # noqa: BLE001 - decoders raise anything; the first error is the reason
            raise failure from failure.__cause__
        if missing_share(first.picture, second.picture) > MAX_MISSING:
            raise
        return first


@contextmanager
def _explained(source: _Source) -> Iterator[None]:
    """Turn what decoders raise (OSError, ValueError, SyntaxError, struct.error and more) into a reason for people."""
    try:
        yield
    except (ImgtagError, MemoryError):
        raise
    except Exception as error:
        text, name = str(error), source.format.name
        if "MAX_TEXT" in text:
            message = "its text or colour profile decompresses to megabytes"
            raise Unreadable(message, code="metadata_too_large") from error
        if source.format is TIFF and not headers.has_whole_directory(source.data):
            raise _truncated(source) from error
        # Whether a tag has a value that Pillow has no name for, such as a compression; it wraps such errors in another.
        if _UNSUPPORTED.search(text) or (
            source.format is TIFF
            and (isinstance(error, KeyError) or any(isinstance(argument, KeyError) for argument in error.args))
        ):
            reason = re.sub(r"[^\w .,:;()/-]", "", text)[:60]
            message = f"this kind of {name} is not decoded ({reason})"
            raise Unreadable(message, code="unsupported_format") from error
        if "truncated" in text.lower() or headers.ends_early(source.format, source.data):
            raise _truncated(source) from error
        raise Undecodable(f"the {name} is damaged") from error


def _truncated(source: _Source) -> Undecodable:
    return Undecodable(f"the {source.format.name} is cut off: the file ends before the picture does", code="truncated")


# One reading


def _read(source: _Source) -> _Reading:
    """Read a file as ``source`` says. Raises Unreadable over a limit, and what decoders raise."""
    if source.format is WEBP:
        canvas = headers.webp_canvas(source.data) or (0, 0)
        _check_size(canvas, source)
        _check_memory(canvas, WEBP.memory, source)
    if headers.count_frames(source.format, source.data, source.limits.frames) > source.limits.frames:
        message = f"it has more frames than max_frames, which is {source.limits.frames:,}"
        raise Unreadable(message, hint="Raise `[pipeline] max_frames`.", code="too_many_frames")
    if source.format is HEIC:
        heic = HeicFile(_padded(source))
        # A grid names a size of its own, and its tiles others. The decoder admits no larger ones than are said.
        largest = max([heic.size, *declared_sizes(source.data)], key=pixels)
        for size in (heic.size, largest):
            _check_size(size, source)
        more = 0 if largest == heic.size else HEIC.memory * pixels(largest)
        _check_memory(heic.size, HEIC.memory, replace(source, beside=source.beside + more))
        raster = heic.raster()
        convert = colours.on_white if raster.mode.endswith(("A", "a")) else colours.plain
        small = reduce_to_rgb(raster, source.side, convert)
        return _Reading(picture=small, size=raster.size, exif=exif.parse_exif(heic.info.get("exif")), info=heic.info)
    with _tolerance(source), _READERS[source.format](BytesIO(_padded(source))) as picture:
        original = picture.size
        if source.format is JPEG:
            picture.draft("RGB", (source.side, source.side))
        _check_size(original, source, picture.size)
        if source.format is AVIF:
            source = _with_frames(source, picture)
        _check_memory(original, _bytes_per_pixel(source, picture), source, decoded=picture.size)
        small = _first_shown(_frames(source, picture), source.side)
        return _Reading(picture=small, size=original, exif=exif.read_exif(picture), info=picture.info)


def _first_shown(frames: Iterator[tuple[Raster, Converter]], side: int) -> Pillow.Image:
    """The first frame with more than one colour, else the first one."""
    first: Pillow.Image | None = None
    for raster, convert in islice(frames, _MAX_BLANK_FRAMES):
        small = reduce_to_rgb(raster, side, convert)
        if any(low != high for low, high in colours.extrema(small)):
            return small
        first = first or small
    if first is None:
        raise OSError("there is no frame")
    return first


def _frames(source: _Source, picture: ImageFile.ImageFile) -> Iterator[tuple[Raster, Converter]]:
    if source.format in {WEBP, AVIF}:
        yield from _buffers(source, picture)
        return
    yield _load(source, picture)
    if source.format not in {GIF, PNG} or picture.width * picture.height * _FRAME_BYTES > source.limits.memory:
        return
    if source.format is GIF and not headers.gif_frames_fit(source.data, picture.size, _MAX_BLANK_FRAMES):
        return  # Pillow would enlarge the canvas
    for number in range(1, _MAX_BLANK_FRAMES):
        try:
            picture.seek(number)
            picture.load()
        except Exception:  # noqa: BLE001 - damaged later frames do not matter
            return
        yield PillowRaster(picture), colours.converter(picture)


def _buffers(source: _Source, picture: Any) -> Iterator[tuple[Raster, Converter]]:
    """The frames as their decoder gives them: Pillow would copy each one twice."""
    decoder, mode = picture._decoder, picture.mode  # noqa: SLF001
    convert = colours.on_white if mode == "RGBA" else colours.plain
    raw = picture.rawmode if source.format is WEBP else mode
    needed = picture.width * picture.height * _bytes_per_pixel(source, picture) + source.later + len(source.data)
    for number in range(picture.n_frames if needed <= source.limits.memory else 1):
        try:
            data = decoder.get_next()[0] if source.format is WEBP else decoder.get_frame(number)[0]
        except Exception:
            if number == 0:
                raise
            return
        yield BufferRaster(data, picture.size, mode, raw, len(data) // picture.height), convert
        del data


def _load(source: _Source, picture: ImageFile.ImageFile) -> tuple[Raster, Converter]:
    bits = headers.significant_bits(source.data) if source.format is PNG else None
    is_deep = depth.deep_tiles(picture)
    _fill(picture, source.filling, is_deep=is_deep)
    picture.load()
    if is_deep and depth.has_empty_bits(picture) and picture.width * picture.height * 8 <= source.limits.memory:
        with _READERS[source.format](BytesIO(source.data)) as lower:
            depth.swap_bytes(lower)
            _fill(lower, source.filling, is_deep=True)
            lower.load()
            return depth.DeepRaster.of(picture, lower.copy(), bits), colours.plain
    return PillowRaster(picture), colours.converter(picture, bits)


def _fill(picture: ImageFile.ImageFile, filling: int | None, *, is_deep: bool) -> None:
    """Make ``picture`` show ``filling`` wherever nothing is decoded."""
    if filling is None:
        return
    prepare = picture.load_prepare

    def load_prepare() -> None:
        prepare()
        picture.im.paste(_ink(picture, filling, is_deep=is_deep), (0, 0, *picture.im.size))

    picture.load_prepare = load_prepare  # type: ignore[method-assign]


def _ink(picture: ImageFile.ImageFile, filling: int, *, is_deep: bool) -> int | tuple[int, ...]:
    """A filling as a colour of the picture's mode: different fillings are different colours.

    Of 16-bit samples they are within the range of 12 bits, which may be all that is used.
    """
    is_first = filling == FILLINGS[0]
    match picture.im.mode:
        case "1":
            return 255 if is_first else 0
        case "P":
            palette = picture.im.getpalette("RGB", "RGB")
            colours_there = [sum(palette[place : place + 3]) for place in range(0, len(palette), 3)]
            return colours_there.index(max(colours_there) if is_first else min(colours_there))
        case mode if mode.startswith("I;16"):
            return _DEEP_FILLING if is_first else 0
        case mode:
            bands = Pillow.getmodebands(mode)
            value = (_DEEP_FILLING >> 8 if is_first else 0) if is_deep else filling
            if mode in {"LA", "RGBA"}:
                return (*(value,) * (bands - 1), 255)
            return value if bands == 1 else (value,) * bands


@contextmanager
def _tolerance(source: _Source) -> Iterator[None]:
    """Make Pillow ignore missing pixels and damaged chunks, if a filling shows what is missing."""
    ImageFile.LOAD_TRUNCATED_IMAGES = source.filling is not None
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _padded(source: _Source) -> bytes:
    """The file, padded with the filling to the length in its headers if only a little is missing."""
    length = headers.declared_length(source.format, source.data)
    missing = length - len(source.data)
    if source.filling is None or not 0 < missing <= length * MAX_MISSING:
        return source.data
    return source.data + bytes([source.filling]) * missing


# Limits


def _with_frames(source: _Source, picture: ImageFile.ImageFile) -> _Source:
    """Count the frames of an AVIF as they are coded. Raises ValueError if there is none; Unreadable over a limit."""
    cost = read_avif_cost(source.data, picture.size, _MAX_BLANK_FRAMES)
    _check_size(cost.largest, source)
    return replace(source, beside=source.beside + cost.first, later=source.beside + cost.later)


def _check_size(size: tuple[int, int], source: _Source, decoded: tuple[int, int] | None = None) -> None:
    """``decoded``: the size at which it is decoded, where that is another."""
    width, height = size
    if max(size) > _MAX_SIDE:
        raise Unreadable(f"{width} x {height}: a side has {_MAX_SIDE:,} pixels at most", code="too_many_pixels")
    limit = source.limits.pixels
    if decoded and decoded != size and decoded[0] * decoded[1] <= limit:
        limit *= REDUCED_JPEG
    if width * height > limit:
        message = f"{width} x {height} pixels are more than max_pixels allows, which is {source.limits.pixels:,}"
        raise Unreadable(message, hint="Raise `[pipeline] max_pixels`.", code="too_many_pixels")


def _check_memory(
    size: tuple[int, int], per_pixel: float, source: _Source, decoded: tuple[int, int] | None = None
) -> None:
    width, height = decoded or size
    needed = int(height * max(width * per_pixel, _MIN_ROW)) + source.beside + len(source.data)
    _require_memory(needed, f"decoding {size[0]} x {size[1]} pixels of {source.format.name}", source)


def _require_memory(needed: int, what: str, source: _Source) -> None:
    if needed > source.limits.memory:
        more = (needed - source.limits.memory >> 20) + 1
        raise Unreadable(
            f"{what} takes {needed >> 20} MiB; worker_memory leaves {source.limits.memory >> 20} MiB for a picture",
            hint=f"Raise `[pipeline] worker_memory` by {more} MiB.",
            code="memory",
        )


def _bytes_per_pixel(source: _Source, picture: ImageFile.ImageFile) -> float:
    """Bytes per pixel while the picture is decoded, not counting the file."""
    if source.format is WEBP:
        return WEBP.memory
    if source.format is AVIF:
        return 2 * len(picture.getbands())
    if picture.tile and picture.tile[0].codec_name == "bmp_rle":
        return _RLE
    stored = _STORED.get(picture.mode, 4)
    return stored + (_strip_share(picture) if source.format is TIFF else 0)


def _strip_share(picture: Any) -> float:
    """Bytes per pixel for the strip or tile that libtiff decodes; it may be the whole picture."""
    if not picture.tile or picture.tile[0].codec_name != "libtiff":
        return 0
    tags, (width, height) = picture.tag_v2, picture.size
    bits = tags.get(_BITS, (8,))
    rows = min(height, tags.get(_ROWS_PER_STRIP, height))
    pixels = tags[_TILE_WIDTH] * tags[_TILE_LENGTH] if _TILE_WIDTH in tags and _TILE_LENGTH in tags else width * rows
    return float(pixels * len(bits) * -(-bits[0] // 8) / (width * height))
