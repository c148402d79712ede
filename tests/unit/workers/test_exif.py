"""What a picture says of itself, and what it says in order to do harm."""

from __future__ import annotations

import pytest
from PIL import TiffImagePlugin
from PIL.ExifTags import GPS, Base
from PIL.TiffImagePlugin import IFDRational

from imgtag.types.facts import Facts
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child.decode import decode

from .pictures import encoded, exif, scene

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
    found = facts(
        kind, Make="Canon", Model="Canon EOS R5", details={Base.DateTimeOriginal: "2024:07:01 14:00:00"}, gps=BERN
    )
    assert found == Facts(width=64, height=48, taken=1719842400, camera="Canon EOS R5", lat=46.96, lng=7.44)


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
    found = facts("TIFF", Make=make, Model=model)
    assert found.camera == camera or (found.camera or "").isascii() != (camera or "").isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "0000:00:00 00:00:00",
        "2024:13:01 00:00:00",
        "2024:06:31 00:00:00",
        "1969:12:31 23:59:59",
        "9" * 5000,
    ],
)
def test_a_time_that_is_none_is_left_out(text: str) -> None:
    assert facts(Model="X", details={Base.DateTimeOriginal: text}) == Facts(width=64, height=48, camera="X")


def test_the_next_time_is_taken_where_one_is_none() -> None:
    found = facts(DateTime="2024:07:01 14:00:00", details={Base.DateTimeOriginal: "0000:00:00 00:00:00"})
    assert found.taken == 1719842400


def test_south_and_west_are_negative() -> None:
    found = facts(gps={**BERN, GPS.GPSLatitudeRef: "S", GPS.GPSLongitudeRef: "W"})
    assert (found.lat, found.lng) == (-46.96, -7.44)


@pytest.mark.parametrize(
    "gps",
    [
        {GPS.GPSLatitude: (IFDRational(1, 0), IFDRational(0, 0), IFDRational(0, 0))},
        {GPS.GPSLatitude: (IFDRational(91), IFDRational(0), IFDRational(0))},
        {GPS.GPSLongitude: (IFDRational(180), IFDRational(1), IFDRational(0))},
        {GPS.GPSLatitude: (IFDRational(1), IFDRational(2))},
        {GPS.GPSLatitudeRef: "X"},
        {GPS.GPSLongitudeRef: "N"},
        {GPS.GPSLatitudeRef: ""},
        {GPS.GPSLatitude: (IFDRational(2**32 - 1),) * 3},
    ],
)
def test_a_place_that_makes_no_sense_costs_nothing_but_itself(gps: dict[int, object]) -> None:
    found = facts(Model="X", DateTime="2024:07:01 14:00:00", gps={**BERN, **gps})
    assert found == Facts(width=64, height=48, taken=1719842400, camera="X")


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
