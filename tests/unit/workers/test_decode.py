"""From bytes to a picture in RGB, upright, as small as is enough."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from imgtag.errors import ImgtagError, Undecodable, Unreadable
from imgtag.types.image_formats import FORMATS as FORMATS_TABLE
from imgtag.types.image_formats import Support, identify, is_image
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child import decode as decode_module
from imgtag.workers.child.decode import Decoded, decode

from . import encodings, pictures
from .pictures import FORMATS, chunk, corners, encoded, exif, near, noise, png, scene, tiff

LIMITS = PictureLimits(pixels=100_000_000, frames=1_000, memory=736 << 20, seconds=30)
SIZE = (224, 224)
READABLE = r"\A[\w .,:;()'\\/-]+\Z"


def decoded(data: bytes, size: tuple[int, int] = SIZE, limits: PictureLimits = LIMITS) -> Decoded:
    return decode(data, size, limits)


def refused(data: bytes, limits: PictureLimits = LIMITS) -> ImgtagError:
    with pytest.raises((Unreadable, Undecodable)) as caught:
        decode(data, SIZE, limits)
    assert "<" not in caught.value.message
    assert "PIL" not in caught.value.message
    return caught.value


def pixel(data: bytes) -> tuple[int, ...]:
    """The colour in the middle."""
    array = decoded(data).image.array
    return tuple(int(value) for value in array[array.shape[0] // 2, array.shape[1] // 2])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(320, 240), (1, 1), (3, 500), (2000, 1200)])
def test_each_format_is_read(kind: str, size: tuple[int, int]) -> None:
    found = decoded(encoded(scene(*size), kind))
    assert (found.facts.width, found.facts.height) == size
    assert found.image.array.dtype == np.uint8
    if min(size) > 3:
        assert near(corners(found.image.array))
    assert found.image.fit(SIZE, crop=0.875).shape == (224, 224, 3)


def test_a_progressive_jpeg_is_read() -> None:
    assert near(corners(decoded(encoded(scene(), "JPEG", progressive=True)).image.array))


def test_of_an_animation_the_first_frame_is_read() -> None:
    others = [Pillow.new("RGB", (320, 240), "black")] * 3
    for kind in ("GIF", "WEBP"):
        data = encoded(scene(), kind, save_all=True, append_images=others)
        assert near(corners(decoded(data).image.array)), kind


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("size", [(320, 240), (2400, 1600)])
def test_all_orientations_give_the_same_upright_picture(kind: str, orientation: int, size: tuple[int, int]) -> None:
    lying = _laid(scene(*size), orientation)
    found = decoded(encoded(lying, kind, exif=exif(Orientation=orientation)))
    assert near(corners(found.image.array))
    assert (found.facts.width, found.facts.height) == size


def _laid(picture: Pillow.Image, orientation: int) -> Pillow.Image:
    """What a camera stores so that ``orientation`` makes it upright again."""
    turn = Pillow.Transpose
    undo = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_90,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_270,
    }
    return picture.transpose(undo[orientation]) if orientation in undo else picture


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_senseless_orientation_is_upright(value: int) -> None:
    assert near(corners(decoded(encoded(scene(), "JPEG", exif=exif(Orientation=value))).image.array))


def test_a_jpeg_of_twelve_megapixels_is_decoded_small() -> None:
    found = decoded(encoded(scene(4000, 3000), "JPEG"))
    assert found.image.size == (500, 375)
    assert (found.facts.width, found.facts.height) == (4000, 3000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("model", [(224, 224), (320, 180), (180, 320), (64, 512)])
@pytest.mark.parametrize("original", [(1024, 768), (2047, 1025), (600, 4000), (513, 512), (300, 200)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_picture_is_never_smaller_than_the_model_needs(
    kind: str, model: tuple[int, int], original: tuple[int, int], orientation: int
) -> None:
    width, height = decoded(encoded(scene(*original), kind, exif=exif(Orientation=orientation)), model).image.size
    shown = original[::-1] if orientation == 6 else original
    assert width >= min(model[0], shown[0])
    assert height >= min(model[1], shown[1])


def test_a_picture_made_smaller_by_rows_is_the_one_made_smaller_at_once() -> None:
    picture = noise(1500, 1117)
    found = decoded(encoded(picture, "PNG"), (64, 64)).image.array
    assert np.array_equal(found, np.asarray(picture.reduce(1117 // (73 * 2))))


# Colours


def test_what_is_transparent_becomes_white() -> None:
    clear = Pillow.new("RGBA", (64, 64), (255, 0, 0, 0))
    for kind in ("PNG", "WEBP", "TIFF"):
        assert pixel(encoded(clear, kind)) == (255, 255, 255), kind
    assert near([pixel(encoded(Pillow.new("RGBA", (64, 64), (0, 0, 255, 128)), "PNG"))], [(127, 127, 255)], 3)


def test_a_transparent_grey_becomes_white() -> None:
    assert pixel(encoded(Pillow.new("LA", (64, 64), (10, 0)), "PNG")) == (255, 255, 255)
    assert pixel(encoded(Pillow.new("LA", (64, 64), (10, 255)), "PNG")) == (10, 10, 10)


def test_a_palette_with_a_transparent_colour_becomes_white_there() -> None:
    picture = Pillow.new("P", (1200, 1200), 1)
    picture.putpalette([255, 0, 0, 0, 128, 0])
    assert pixel(encoded(picture, "PNG", transparency=1)) == (255, 255, 255)
    assert pixel(encoded(picture, "PNG", transparency=b"\xff\x00")) == (255, 255, 255)
    assert pixel(encoded(picture, "PNG")) == (0, 128, 0)
    assert pixel(encoded(picture, "GIF", transparency=1)) == (255, 255, 255)


def test_a_transparent_colour_of_an_rgb_png_becomes_white() -> None:
    data = png(8, 8, chunk(b"tRNS", struct.pack(">HHH", 0, 0, 0)))
    assert pixel(data) == (255, 255, 255)


def test_cmyk_of_adobe_is_not_a_negative() -> None:
    jpeg = encoded(scene().convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in jpeg
    assert near(corners(decoded(jpeg).image.array))
    assert near(corners(decoded(encoded(scene().convert("CMYK"), "TIFF")).image.array))


@pytest.mark.parametrize(("value", "shown"), [(0, 0), (0x8000, 128), (0xFFFF, 255)])
def test_sixteen_bits_keep_their_brightness(value: int, shown: int) -> None:
    grey = Pillow.fromarray(np.full((64, 64), value, np.uint16))
    for data in (encoded(grey, "PNG"), encoded(grey, "TIFF")):
        assert near([pixel(data)], [(shown,) * 3], 1)
    rgb = png(8, 8, depth=16, pixels=b"".join(b"\0" + struct.pack(">3H", value, 0, value) * 8 for _ in range(8)))
    assert near([pixel(rgb)], [(shown, 0, shown)], 1)
    deep = tiff(8, 8, bits=16, pixels=struct.pack("<H", value) * 64)
    assert near([pixel(deep)], [(shown,) * 3], 1)


def test_floats_are_stretched_between_their_ends() -> None:
    values = np.linspace(-3, 40, 64 * 64, dtype=np.float32).reshape(64, 64)
    array = decoded(encoded(Pillow.fromarray(values), "TIFF")).image.array
    assert (array.min(), array.max()) == (0, 255)
    assert np.all(np.diff(array[:, 0, 0].astype(int)) >= 0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 1e38, -1e38])
def test_floats_of_any_value_are_a_picture(value: float) -> None:
    values = np.zeros((64, 64), np.float32)
    values[0] = value
    assert decoded(encoded(Pillow.fromarray(values), "TIFF")).image.size == (64, 64)
    assert decoded(encoded(Pillow.fromarray(np.full((8, 8), value, np.float32)), "TIFF")).image.size == (8, 8)


def test_thirty_two_bits_are_stretched() -> None:
    values = np.linspace(-1e6, 1e6, 64 * 64).astype(np.int32).reshape(64, 64)
    array = decoded(encoded(Pillow.fromarray(values), "TIFF")).image.array
    assert (array.min(), array.max()) == (0, 255)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize(("bits", "form"), [(16, "H"), (32, "I")])
def test_grey_of_many_bits_in_any_byte_order(order: str, photometric: int, bits: int, form: str) -> None:
    """Also where white is zero, and where a sample is so great that it would be negative."""
    greatest = (1 << bits) - 1
    values = np.linspace(0, greatest, 64, dtype=np.float64).astype(np.uint64).repeat(64)
    stored = greatest - values if photometric == 0 else values
    pixels = struct.pack(f"{order}{64 * 64}{form}", *map(int, stored))
    array = decoded(tiff(64, 64, bits=bits, photometric=photometric, pixels=pixels, order=order)).image.array

    assert (array[0].max(), array[-1].min()) == (0, 255)
    assert np.all(np.diff(array[:, 0, 0].astype(int)) >= 0)


def test_one_bit_is_black_and_white() -> None:
    for kind in ("PNG", "TIFF", "BMP"):
        assert pixel(encoded(Pillow.new("1", (64, 64), 1), kind)) == (255, 255, 255), kind
        assert pixel(encoded(Pillow.new("1", (1200, 1200), 0), kind)) == (0, 0, 0), kind


def test_an_interlaced_png_is_read() -> None:
    # Of one colour, the seven passes differ in nothing but their length.
    passes = ((8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2))
    sizes = ((1, 1), (1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4))
    assert len(passes) == len(sizes)
    pixels = b"".join((b"\0" + b"\x0a\xc8\x1e" * across) * down for across, down in sizes)
    assert pixel(png(8, 8, pixels=pixels, interlaced=1)) == (10, 200, 30)


def test_lab_is_read() -> None:
    assert decoded(encoded(Pillow.new("LAB", (8, 8), (200, 128, 128)), "TIFF")).image.array.min() > 150


# Limits


def test_pixels_are_counted_from_the_header() -> None:
    error = refused(png(20_000, 20_000, colour=0, depth=1))
    assert error.code == "too_many_pixels"
    assert error.message == "20000 x 20000 pixels are more than max_pixels allows, which is 100,000,000"
    assert refused(pictures.webp_canvas(16_384, 16_384)).code == "too_many_pixels"


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_held_to_the_limits(kind: str) -> None:
    data = encoded(noise(300, 200), kind)
    assert refused(data, PictureLimits(pixels=59_999, frames=9, memory=1 << 30, seconds=30)).code == "too_many_pixels"
    assert refused(data, PictureLimits(pixels=60_000, frames=9, memory=59_999, seconds=30)).code == "memory"
    decoded(data, limits=PictureLimits(pixels=60_000, frames=1, memory=60_000 * 17, seconds=30))


def test_frames_are_counted_without_decoding_one() -> None:
    for data in (pictures.gif_of(1_001), pictures.webp_of(1_001)):
        assert refused(data).code == "too_many_frames"
    decoded(pictures.gif_of(1_000))
    animation = encoded(scene(), "WEBP", save_all=True, append_images=[scene().rotate(9 * n) for n in range(1, 4)])
    assert (
        refused(animation, PictureLimits(pixels=10**6, frames=3, memory=1 << 30, seconds=30)).code == "too_many_frames"
    )
    decoded(animation, limits=PictureLimits(pixels=10**6, frames=4, memory=1 << 30, seconds=30))


def test_a_large_jpeg_is_no_matter_unless_it_is_progressive() -> None:
    picture = scene(4000, 3000)
    tight = PictureLimits(pixels=10**8, frames=9, memory=8 << 20, seconds=30)
    decoded(encoded(picture, "JPEG"), limits=tight)
    error = refused(encoded(picture, "JPEG", progressive=True, subsampling="4:2:0"), tight)
    assert error.message == (
        "decoding 4000 x 3000 pixels of JPEG takes 35 MiB; worker_memory leaves 8 MiB for a picture"
    )
    assert error.hint == "Raise `[pipeline] worker_memory` by 28 MiB."
    assert "69 MiB" in refused(encoded(picture, "JPEG", progressive=True, subsampling="4:4:4"), tight).message


def test_a_jpeg_in_several_scans_counts_as_progressive() -> None:
    jpeg = encoded(scene(4000, 3000), "JPEG")
    place = jpeg.index(b"\xff\xda")
    first_of_three = b"\xff\xda" + struct.pack(">HBBBBBB", 8, 1, 1, 0, 0, 63, 0)
    tight = PictureLimits(pixels=10**8, frames=9, memory=8 << 20, seconds=30)
    assert refused(jpeg[:place] + first_of_three + jpeg[place + 14 :], tight).code == "memory"


@pytest.mark.parametrize(
    "name", ["png", "rgba.png", "webp", "tif", "one.tif", "gif", "bmp", "progressive.jpg", "16.png"]
)
def test_what_is_said_to_be_needed_is_what_is_taken(name: str, tmp_path: object) -> None:
    """The peak of a process of its own, over what it had before, in bytes."""
    data = _large(name)
    script = (
        "import sys, resource; from imgtag.types.picture_limits import PictureLimits;"
        "from imgtag.workers.child.decode import decode;"
        "data = sys.stdin.buffer.read(); peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10;"
        "before = peak(); decode(data, (224, 224), PictureLimits(pixels=10**9, frames=9, memory=1 << 40, seconds=30));"
        "print(peak() - before)"
    )
    taken = int(subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, check=True).stdout)
    slack = 12 << 20
    assert refused(data, PictureLimits(pixels=10**9, frames=9, memory=taken - slack, seconds=30)).code == "memory"


def _large(name: str) -> bytes:
    picture = scene(3000, 2000)
    match name:
        case "rgba.png":
            return encoded(picture.convert("RGBA"), "PNG")
        case "16.png":
            return encoded(Pillow.fromarray(np.zeros((2000, 3000), np.uint16)), "PNG")
        case "one.tif":
            return encoded(picture, "TIFF", compression="tiff_lzw", strip_size=1 << 30)
        case "progressive.jpg":
            return encoded(picture, "JPEG", progressive=True, subsampling="4:4:4")
    return encoded(picture, {"tif": "TIFF"}.get(name, name))


# Bad files


BAD = pictures.bad()
READ_ALL_THE_SAME = {
    "png of 90 megapixels",
    "png of 40 megapixels in colour",
    "png of 64 megapixels in colour",
    "jpeg with a huge exif",
    "jpeg that is a zip too",
}
CODES = {
    "png of 400 megapixels": "too_many_pixels",
    "png with a text of 256 MB": "metadata_too_large",
    "png with a text of 256 MB in iTXt": "metadata_too_large",
    "png with a profile of 256 MB": "metadata_too_large",
    "png of many texts": "metadata_too_large",
    "gif of 5000 frames": "too_many_frames",
    "webp of 5000 frames": "too_many_frames",
    "webp of 268 megapixels": "too_many_pixels",
    "gif of 4 gigapixels": "too_many_pixels",
    "jpeg of 4 gigapixels": "too_many_pixels",
    "tiff that says it is huge": "too_many_pixels",
    "tiff whose directory points to itself": "undecodable",
    "bmp that says it is huge": "too_many_pixels",
    "text named jpg": "not_an_image",
    "text that begins with BM": "not_an_image",
    "nothing": "empty",
    "one byte": "not_an_image",
    "zeros": "not_an_image",
    "svg": "unsupported_format",
    "heic": "undecodable",
    "avif": "undecodable",
    "pdf": "unsupported_format",
    "pdf that is a jpeg too": "unsupported_format",
    "gif that is a script too": "undecodable",
    **{f"cut {name}": "truncated" for name in FORMATS},
}


@pytest.mark.parametrize("name", sorted(READ_ALL_THE_SAME))
def test_strange_files_are_read_all_the_same(name: str) -> None:
    decoded(BAD[name])


@pytest.mark.parametrize("name", sorted(BAD.keys() - READ_ALL_THE_SAME))
def test_bad_files_are_refused_with_a_reason(name: str) -> None:
    error = refused(BAD[name])
    assert error.code == CODES[name]
    assert 10 < len(error.message) < 130


def test_reasons_are_for_people() -> None:
    assert refused(BAD["cut WEBP"]).message == "the WebP is cut off: the file ends before the picture does"
    assert refused(BAD["svg"]).message == ("SVG is not decoded; JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, Camera RAW are")
    assert refused(b"hello world").message == "the content is not an image (it begins with 'hello wo')"
    assert refused(b"").message == "the object is empty"


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_anywhere_is_read_or_refused(kind: str) -> None:
    data = encoded(noise(60, 40), kind)
    codes = {_outcome(data[:length]) for length in range(0, len(data), max(1, len(data) // 150))}
    assert "truncated" in codes
    assert codes <= {"read", "truncated", "undecodable", "empty", "not_an_image"}


def _outcome(data: bytes) -> str:
    try:
        decoded(data)
    except (Unreadable, Undecodable) as error:
        return error.code
    return "read"


def test_nothing_is_warned_of() -> None:
    malformed = encoded(scene(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(20))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        decoded(malformed)
        for data in BAD.values():
            _outcome(data)
    assert said == []


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "BMP"),
        (b"BMW", None),
        (b"MM\0*", "TIFF"),
        (b"", None),
    ],
)
def test_formats_are_known_by_their_first_bytes(data: bytes, name: str | None) -> None:
    found = identify(data)
    assert (found and found.name) == name


# Formats that are known, and files of kinds that are not decoded


UNSUPPORTED = {
    "ico": encoded(scene(32, 32), "ICO"),
    "ppm": encoded(scene(32, 32), "PPM"),
    "pgm": encoded(scene(32, 32).convert("L"), "PPM"),
    "pgm in letters": b"P2\n# made by hand\n3 2\n15\n0 3 7\n11 15 0\n",
    "jpeg 2000": encoded(scene(32, 32), "JPEG2000"),
    "psd": b"8BPS\0\1" + bytes(60),
    "jpeg xl": b"\xff\x0a" + bytes(60),
    "svg in gzip": gzip.compress(b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "tiff of floats in colour": tiff(8, 8, bits=32, samples=3, photometric=2, form=3, pixels=bytes(8 * 8 * 12)),
    "tiff compressed with LERC": tiff(8, 8, pixels=bytes(64)).replace(
        struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHII", 259, 3, 1, 34887)
    ),
    "lossless jpeg": encoded(scene(32, 32), "JPEG").replace(b"\xff\xc0", b"\xff\xc3", 1),
    "jpeg of twelve bits": encoded(scene(32, 32), "JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c", 1),
    "heif of jpeg 2000": b"\0\0\0\x18ftypmif1\0\0\0\0mif1j2ki" + bytes(50),
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(50),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_is_known_and_not_decoded_is_refused_as_that(name: str) -> None:
    """Neither damaged nor something else than an image."""
    error = refused(UNSUPPORTED[name])
    assert (type(error), error.code) == (Unreadable, "unsupported_format")


def test_without_the_extra_heic_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, not failed: nothing is wrong with the file."""
    monkeypatch.setattr(decode_module, "_EXTRAS", frozenset())
    error = refused(encodings.heic(scene(64, 48)))
    assert error.code == "unsupported_format"
    assert error.message == "HEIC needs the extra `heif`, which is not installed"
    assert "pip install 'imgtag-sidecar[heif]'" in error.hint


def test_every_decoded_format_has_its_reader() -> None:
    """The table promises nothing that the worker does not do."""
    decoded_formats = {image_format.name for image_format in FORMATS_TABLE if image_format.support is Support.DECODED}
    assert decoded_formats == {image_format.name for image_format in decode_module._READERS} | {"Camera RAW"}
    assert [image_format.name for image_format in FORMATS_TABLE if image_format.support is Support.EXTRA] == ["HEIC"]


def test_the_formats_that_are_told_apart_are_told_apart_by_their_first_bytes() -> None:
    """The start of each file is enough, and no file is taken for another format's."""
    samples = {
        "JPEG": encoded(scene(), "JPEG"),
        "PNG": encoded(scene(), "PNG"),
        "GIF": encoded(scene(), "GIF"),
        "WebP": encoded(scene(), "WEBP"),
        "BMP": encoded(scene(), "BMP"),
        "TIFF": encoded(scene(), "TIFF"),
        "AVIF": encoded(scene(), "AVIF"),
        "HEIC": encodings.heic(scene(64, 64)),
        "ICO": UNSUPPORTED["ico"],
        "Netpbm": UNSUPPORTED["ppm"],
        "JPEG 2000": UNSUPPORTED["jpeg 2000"],
    }
    for name, data in samples.items():
        found = identify(data[:64])
        assert found
        assert (found.name, is_image(data[:64])) == (name, True)
        assert is_image(gzip.compress(data)[:4_096])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0\1\0" + bytes(40),
        b"P4 is a processor of 2001\n",
        b"BMW\n" * 20,
        b"%PDF-1.4",
        b"\x1f\x8b\x08",
        b"\nthe first line",
    ],
)
def test_other_bytes_are_no_image(data: bytes) -> None:
    """An object without a type is passed over by them."""
    assert not is_image(data)


# Content-Encoding: gzip


def test_a_gzipped_picture_is_decoded_within_the_limits() -> None:
    """Whatever the object's headers say of it: only its bytes count."""
    jpeg = encoded(scene(), "JPEG")
    assert near(corners(decoded(gzip.compress(jpeg)).image.array))
    assert near(corners(decoded(gzip.compress(jpeg[:1000]) + gzip.compress(jpeg[1000:]) + b"end").image.array))
    assert refused(gzip.compress(jpeg)[:-200]).code in {"truncated", "undecodable"}
    assert refused(gzip.compress(b"a text")).code == "not_an_image"
    bomb = refused(gzip.compress(bytes(300 << 20)))
    assert (bomb.code, bomb.hint) == ("memory", "Raise `[pipeline] worker_memory`.")


# Scans


def test_scans_are_counted_before_one_is_decoded() -> None:
    """Each of them goes over the whole picture: 400 would take ten seconds."""
    assert refused(encodings.many_scans(scene(600, 600), 400)).code == "too_many_scans"
    assert near(corners(decoded(encodings.many_scans(scene(600, 600), 60)).image.array))


def test_a_jpeg_decoded_small_may_be_larger() -> None:
    """Phones make 108 and 200 million pixels; four times the limit is the end."""
    limits = replace(LIMITS, pixels=2_000_000)
    assert decoded(encoded(scene(3000, 2500), "JPEG"), limits=limits).facts.width == 3000
    assert refused(encoded(scene(3000, 2500), "PNG"), limits).code == "too_many_pixels"
    assert refused(encoded(scene(3000, 2700), "JPEG"), limits).code == "too_many_pixels"


@pytest.mark.parametrize("name", ["png", "webp", "avif", "heic", "tiff", "gif"])
def test_what_the_limits_admit_fits_into_a_worker(name: str) -> None:
    """Under the limit of address space that a worker has, with the bytes per pixel that are documented."""
    picture = scene(3000, 2000)
    data = encodings.heic(picture) if name == "heic" else encoded(picture, name)
    found = identify(data)
    assert found
    script = (
        "import sys; from imgtag.types.picture_limits import *; from imgtag.workers.child.decode import decode;"
        "import pathlib, resource; data = sys.stdin.buffer.read();"
        f"needed = 6_000_000 * {found.memory} + len(data);"
        "limits = PictureLimits(pixels=10**8, frames=9, memory=needed, seconds=30);"
        "decode(data, (224, 224), limits);"  # a first time, for the libraries
        "mapped = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (mapped + needed + WORKER_OVERHEAD,) * 2);"
        "decode(data, (224, 224), limits)"
    )
    done = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True)
    assert (done.returncode, done.stderr.decode()) == (0, "")
