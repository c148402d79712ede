"""What a picture says of itself, and what it says in order to do harm."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from PIL import PngImagePlugin, TiffImagePlugin
from PIL.ExifTags import GPS, Base
from PIL.TiffImagePlugin import IFDRational

from imgtag.types.facts import Facts
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child.dates import parse_date
from imgtag.workers.child.decode import decode

from .pictures import encoded, exif, exif_block, scene

LIMITS = PictureLimits(pixels=10**7, frames=9, memory=1 << 30, seconds=30)
BERN = {
    GPS.GPSLatitudeRef: "N",
    GPS.GPSLatitude: (IFDRational(46), IFDRational(57), IFDRational(360, 10)),
    GPS.GPSLongitudeRef: "E",
    GPS.GPSLongitude: (IFDRational(7), IFDRational(26), IFDRational(24)),
}


def facts(kind: str = "JPEG", **tags: object) -> Facts:
    return decode(encoded(scene(64, 48), kind, exif=exif(**tags)), (32, 32), LIMITS).facts


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_time_camera_and_place_are_read(kind: str) -> None:
    described = facts(
        kind, Make="Canon", Model="Canon EOS R5", details={Base.DateTimeOriginal: "2024:07:01 14:00:00"}, gps=BERN
    )
    assert described == Facts(width=64, height=48, taken=1719842400, camera="Canon EOS R5", lat=46.96, lng=7.44)


def test_a_picture_without_exif_has_its_size() -> None:
    assert facts() == Facts(width=64, height=48)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON Z 9", "NIKON Z 9"),
        ("FUJIFILM", "X-T5", "FUJIFILM X-T5"),
        ("", "Pixel 8", "Pixel 8"),
        ("Leica", "", "Leica"),
        ("A\0B\r\nC", "D\x1b[31m", "A B C D [31m"),
        ("x" * 60_000, "y", "x" * 64),
        ("", "", None),
        ("Ünï", "🦊", "Ünï 🦊"),
    ],
)
def test_a_camera_is_one_line_of_text(make: str, model: str, camera: str | None) -> None:
    described = facts("TIFF", Make=make, Model=model)
    assert described.camera == camera or (described.camera or "").isascii() != (camera or "").isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "0000:00:00 00:00:00",
        "2024:13:01 00:00:00",
        "2024:06:31 00:00:00",
        "1955:  :     :  :  ",
        "1970:01:01 00:00:00",
        "04/03/2017",
        "2017:03-04 05:06:07",
        "2017:03:04 25:06:07",
        "2017:03:04 13:06 pm",
        "2017:03:04 05:06:07, I think",
        "9" * 5000,
    ],
)
def test_a_time_that_is_none_is_left_out(text: str) -> None:
    assert facts(Model="X", details={Base.DateTimeOriginal: text}) == Facts(width=64, height=48, camera="X")


def test_the_next_time_is_taken_where_one_is_none() -> None:
    described = facts(DateTime="2024:07:01 14:00:00", details={Base.DateTimeOriginal: "0000:00:00 00:00:00"})
    assert described.taken == 1719842400


def test_south_and_west_are_negative() -> None:
    described = facts(gps={**BERN, GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "W"})
    assert (described.lat, described.lng) == (-46.96, -7.44)


@pytest.mark.parametrize(
    "gps",
    [
        {GPS.GPSLatitude: (IFDRational(1, 0), IFDRational(0, 0), IFDRational(0, 0))},
        {GPS.GPSLatitude: (IFDRational(91), IFDRational(0), IFDRational(0))},
        {GPS.GPSLongitude: (IFDRational(180), IFDRational(1), IFDRational(0))},
        {GPS.GPSLatitude: (IFDRational(1), IFDRational(0, 0), IFDRational(2))},
        {GPS.GPSLatitude: (IFDRational(1), IFDRational(61), IFDRational(2))},
        {GPS.GPSLatitudeRef: "X"},
        {GPS.GPSStatus: "V"},
        {GPS.GPSLongitudeRef: "N"},
        {GPS.GPSLatitudeRef: ""},
        {GPS.GPSLatitude: (IFDRational(2**32 - 1),) * 3},
    ],
)
def test_a_place_that_makes_no_sense_costs_nothing_but_itself(gps: dict[int, object]) -> None:
    described = facts(Model="X", DateTime="2024:07:01 14:00:00", gps={**BERN, **gps})
    assert described == Facts(width=64, height=48, taken=1719842400, camera="X")


def test_tags_of_wrong_types_cost_nothing_but_themselves() -> None:
    wrong = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, value in (
        (Base.Make, 3, 7),
        (Base.Orientation, 2, "upside down"),
        (Base.DateTime, 5, IFDRational(1, 0)),
        (Base.GPSInfo, 2, "nowhere"),
        (Base.ExifOffset, 4, 2**32 - 1),
    ):
        wrong.tagtype[tag] = kind
        wrong[tag] = value
    wrong[Base.Model] = "X"
    data = encoded(scene(64, 48), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0" + wrong.tobytes(offset=8))
    assert decode(data, (32, 32), LIMITS).facts == Facts(width=64, height=48, camera="X")


@pytest.mark.parametrize("junk", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0" + b"\xff" * 500, b"junk" * 9])
def test_exif_that_is_junk_costs_the_facts_only(junk: bytes) -> None:
    data = encoded(scene(64, 48), "JPEG", exif=junk)
    assert decode(data, (32, 32), LIMITS).facts == Facts(width=64, height=48)


# Forms in which they are written


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2017:03:04 05:06:07", "2017-03-04T05:06:07"),
        ("2017-03-04 05:06:07", "2017-03-04T05:06:07"),
        ("2017/03/04 05:06:07", "2017-03-04T05:06:07"),
        ("2017.03.04 05:06:07", "2017-03-04T05:06:07"),
        ("2017-03-04T05:06:07+02:00", "2017-03-04T05:06:07"),
        ("2017-03-04T05:06:07Z", "2017-03-04T05:06:07"),
        ("2017:03:04 05:06:07.123", "2017-03-04T05:06:07"),
        ("2017:03:04  5:06:07", "2017-03-04T05:06:07"),
        ("2017:3:4 05:06:07", "2017-03-04T05:06:07"),
        ("2017:03:04 05:06", "2017-03-04T05:06:00"),
        ("2017-03-04", "2017-03-04T00:00:00"),
        ("20170304", "2017-03-04T00:00:00"),
        ("20170304T050607", "2017-03-04T05:06:07"),
        ("2017:03:04 05:06:07 PM", "2017-03-04T17:06:07"),
        ("2017:03:04 12:06:07 am", "2017-03-04T00:06:07"),
        ("Sat, 04 Mar 2017 05:06:07 +0200", "2017-03-04T05:06:07"),
        ("Sat Mar  4 05:06:07 2017", "2017-03-04T05:06:07"),
        ("1955:06:01 12:00:00", "1955-06-01T12:00:00"),
        ("1969:12:31 23:59:59", "1969-12-31T23:59:59"),
        ("1826:07:01 00:00:00", "1826-07-01T00:00:00"),
    ],
)
def test_dates_are_read_in_every_form_that_is_one(text: str, iso: str) -> None:
    """The camera's clock counts, whatever its offset; before 1970 it is negative."""
    seconds = int(datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp())
    assert facts(details={Base.DateTimeOriginal: text}).taken == seconds


def gps_of(lat: object, lng: object, lat_ref: str | None = "N", lng_ref: str | None = "E") -> dict[int, object]:
    values = {GPS.GPSLatitude: lat, GPS.GPSLongitude: lng, GPS.GPSLatitudeRef: lat_ref, GPS.GPSLongitudeRef: lng_ref}
    return {tag: value for tag, value in values.items() if value is not None}


def angle(*parts: float | tuple[int, int]) -> tuple[IFDRational, ...]:
    return tuple(IFDRational(*part) if isinstance(part, tuple) else IFDRational(part) for part in parts)


@pytest.mark.parametrize(
    ("gps", "position"),
    [
        (gps_of(angle(46, 57, (0, 0)), angle(7, 26, (0, 0))), (46.95, 7.43333)),
        (gps_of(angle(46, 57.6), angle(7, 26.4)), (46.96, 7.44)),
        (gps_of(angle(46.96), angle(7.44)), (46.96, 7.44)),
        (gps_of(angle(46.96), angle(7.44), "n", "w"), (46.96, -7.44)),
        (gps_of(angle(46.96), angle(7.44), "South", "West"), (-46.96, -7.44)),
        (gps_of(angle(46.96), angle(7.44), None, None), (None, None)),
        (gps_of(angle(0, 0, 0), angle(0, 0, 0)), (None, None)),
        (gps_of(angle(0, 0, 0), angle(7, 26, 24)), (0, 7.44)),
        (gps_of(angle(46, 57, 36), angle(0, 0, 0)), (46.96, 0)),
        (gps_of(angle(46, 57, 60), angle(7, 26, 24)), (46.96667, 7.44)),
    ],
)
def test_positions_are_read_where_they_are_unambiguous(gps: dict[int, object], position: tuple[float, float]) -> None:
    """Unknown seconds, decimal degrees, small letters; not without a direction, and two zeros are no position."""
    described = facts("TIFF", gps=gps)
    assert (described.lat, described.lng) == position


@pytest.mark.parametrize(("reference", "lat"), [(None, -46.96), ("S", -46.96), ("N", None)])
def test_a_minus_is_a_direction_too(reference: str | None, lat: float | None) -> None:
    """Where the reference does not say the opposite."""
    places = [(1, 2, f"{reference}\0".encode())] if reference else []
    places += [(2, 10, struct.pack("<ii", -4696, 100)), (3, 2, b"W\0"), (4, 5, struct.pack("<II", 744, 100))]
    block = exif_block([(Base.GPSInfo, 4, places)])
    described = decode(encoded(scene(64, 48), "JPEG", exif=block), (32, 32), LIMITS).facts
    assert (described.lat, described.lng) == (lat, lat and -7.44)


@pytest.mark.parametrize(
    ("written", "camera"),
    [
        ("Müller Kamerabau".encode(), "Müller Kamerabau"),
        ("Müller".encode("latin-1"), "Müller"),
        ("撮影機".encode(), "撮影機"),
        ("撮影機".encode()[:-1], "撮影"),
    ],
)
def test_text_is_utf_8_where_its_bytes_are_and_else_latin_1(written: bytes, camera: str) -> None:
    """Also where a field of fixed length ends in the middle of a character."""
    block = exif_block([(Base.Make, 2, written + b"\0" * 5)])
    assert decode(encoded(scene(64, 48), "JPEG", exif=block), (32, 32), LIMITS).facts.camera == camera


XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" exif:DateTimeOriginal="2024-07-01T14:00:00+02:00" tiff:Make="M&#252;ller"
 exif:GPSLatitude="46,57.6N" ><exif:GPSLongitude>7,26,24W</exif:GPSLongitude><tiff:Model>A &amp; B</tiff:Model>
 </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "PNG", "AVIF"])
def test_xmp_is_read_where_exif_is_missing(kind: str) -> None:
    """Attributes and elements alike."""
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options: dict[str, object] = {"pnginfo": texts} if kind == "PNG" else {"xmp": XMP}
    if kind == "TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags.tagtype[700] = 1
        tags[700] = XMP
        options = {"tiffinfo": tags}
    described = decode(encoded(scene(64, 48), kind, **options), (32, 32), LIMITS).facts
    assert described == Facts(width=64, height=48, taken=1719842400, camera="Müller A & B", lat=46.96, lng=-7.44)


def test_exif_counts_before_xmp() -> None:
    """A program's date does not replace the camera's."""
    tags = exif(Make="Canon", details={Base.DateTimeOriginal: "1955:06:01 12:00:00"})
    described = decode(encoded(scene(64, 48), "JPEG", exif=tags, xmp=XMP), (32, 32), LIMITS).facts
    assert (described.camera, described.taken) == ("Canon", -460296000)


@pytest.mark.parametrize("text", ["x" * 100_000, "abc " * 10_000, "Mon, 06 May " + "9" * 30, " " * 10_000 + "2024"])
def test_a_text_that_is_far_too_long_is_no_date(text: str) -> None:
    """It costs no time and raises nothing."""
    assert parse_date(text) is None


@pytest.mark.parametrize("key", ["Creation Time", "exif:DateTimeOriginal"])
@pytest.mark.parametrize("text", ["2024:07:01 14:00:00", "Mon, 01 Jul 2024 14:00:00 GMT", "2024-07-01T14:00:00Z"])
def test_the_texts_of_a_png_have_its_date(key: str, text: str) -> None:
    """As its specification suggests, and as ImageMagick and screenshots write it."""
    texts = PngImagePlugin.PngInfo()
    texts.add_text(key, text)
    described = decode(encoded(scene(64, 48), "PNG", pnginfo=texts), (32, 32), LIMITS).facts
    assert described.taken == 1719842400


@pytest.mark.parametrize(
    "packet", [b"", b"\xff" * 999, XMP[:300], b"exif:DateTimeOriginal=" * 2_500, XMP.decode().encode("utf-16")]
)
def test_xmp_of_any_bytes_costs_the_facts_only(packet: bytes) -> None:
    """Cut, of another encoding, or nonsense."""
    assert decode(encoded(scene(64, 48), "JPEG", xmp=packet), (32, 32), LIMITS).facts.width == 64
