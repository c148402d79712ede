"""The sizes that an AVIF or HEIC really has, whatever its container says."""

from __future__ import annotations

import struct

import pytest
from PIL import Image

from imgtag.errors import Undecodable, Unreadable
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child.av1 import Frame, FrameReader
from imgtag.workers.child.avif import read_avif_cost
from imgtag.workers.child.decode import decode

from . import boxes
from .pictures import encoded, noise, scene

LIMITS = PictureLimits(pixels=10**6, frames=100, memory=32 << 20, seconds=30)
SEQUENCE, FRAME = 0x0A, 0x32
"""The first bytes of units with a length."""


def unit(kind: int, *fields: tuple[int, int]) -> bytes:
    """A unit of AV1 made of values and the numbers of their bits."""
    text = "".join(f"{value:0{bits}b}" for value, bits in fields if bits)
    text += "0" * (-len(text) % 8)
    body = int(text, 2).to_bytes(len(text) // 8, "big")
    return bytes([kind, len(body)]) + body


def sequence(*, timing: bool = False, frame_ids: bool = False) -> bytes:
    """The header of an animation of 100 x 50 pixels, whose frames may have sides of 1,024 and 64."""
    fields = [(0, 3), (0, 1), (0, 1)]
    if timing:
        # Ticks that are not regular, and a decoder model: 8 bits of delay, 7 bits in each frame.
        fields += [(1, 1), (1, 32), (25, 32), (0, 1), (1, 1), (7, 5), (1, 32), (7, 5), (6, 5)]
        fields += [(1, 1), (1, 5)]
        for _ in range(2):
            fields += [(0, 12), (9, 5), (0, 1), (1, 1), (3, 8), (3, 8), (0, 1), (1, 1), (9, 4)]
    else:
        fields += [(0, 1), (0, 1), (0, 5), (0, 12), (4, 5)]
    fields += [(9, 4), (5, 4), (99, 10), (49, 6)]
    fields += [(1, 1), (3, 4), (2, 3)] if frame_ids else [(0, 1)]
    fields += [(0, 3), (0, 4), (1, 1), (0, 2), (1, 1), (1, 1), (6, 3), (0, 3)]
    fields += [(0, 1), (0, 1), (0, 1), (0, 1), (0, 2), (0, 1), (1, 1)]
    return unit(SEQUENCE, *fields)


def frame(*, kind: int = 0, names_size: int, timing: bool = False, frame_ids: bool = False) -> bytes:
    presentation, number = 7 if timing else 0, 8 if frame_ids else 0
    resilience = [(0, 1)] if kind else []
    return unit(
        FRAME,
        *[(0, 1), (kind, 2), (1, 1), (3, presentation), *resilience, (0, 1), (0, 1), (1, number)],
        *[(names_size, 1), (0, 32)],
    )


def frames(data: bytes) -> list[Frame]:
    return [found for found in FrameReader().read_units(data) if found]


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (129, 200), (1000, 10)])
@pytest.mark.parametrize(
    ("subsampling", "bytes_per_pixel"), [("4:2:0", 1.5), ("4:2:2", 2.0), ("4:4:4", 3.0), ("4:0:0", 1.0)]
)
def test_the_size_and_the_samples_of_a_still_image_are_read_from_its_frame(
    size: tuple[int, int], subsampling: str, bytes_per_pixel: float
) -> None:
    data = boxes.content(encoded(scene(*size), "AVIF", subsampling=subsampling), b"mdat")
    assert [(*size, bytes_per_pixel)] == [(each.width, each.height, each.bytes_per_pixel) for each in frames(data)]


def test_transparency_is_a_frame_of_its_own() -> None:
    picture = scene(300, 200).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    plain, transparent = (
        read_avif_cost(encoded(image, "AVIF"), image.size, 1) for image in (picture.convert("RGB"), picture)
    )
    assert transparent.largest == plain.largest == (300, 200)
    assert transparent.first - plain.first == 384 * 256


@pytest.mark.parametrize("timing", [False, True])
@pytest.mark.parametrize("frame_ids", [False, True])
@pytest.mark.parametrize("kind", [0, 1])
def test_a_frame_that_names_its_own_size_counts_as_the_largest_that_it_can_name(
    *, timing: bool, frame_ids: bool, kind: int
) -> None:
    options = {"timing": timing, "frame_ids": frame_ids}
    start = sequence(**options)
    usual, own = (frame(kind=kind, names_size=names, **options) for names in (0, 1))
    assert [Frame(100, 50, 1.5, True)] == frames(start + usual)
    assert [Frame(100, 50, 1.5, True), Frame(1024, 64, 1.5, True)] == frames(start + usual + own)


def test_all_frames_of_a_sample_count_as_far_as_a_decoder_holds_them() -> None:
    """Also those that it decodes before it shows the first one."""
    once = encoded(scene(64, 64), "AVIF")
    sample = boxes.content(once, b"mdat")
    for count, held in ((1, 1), (3, 3), (50, 10)):
        # The item has no length: it reaches to the end of the file.
        endless = once.replace(struct.pack(">I", len(sample)), bytes(4), 1) + sample * (count - 1)
        assert read_avif_cost(endless, (64, 64), 1).first == held * 128 * 128 * 1.5


def test_of_an_animation_the_first_image_counts_by_itself() -> None:
    cost = read_avif_cost(boxes.animated(scene(64, 64), *[noise(64, 64, seed) for seed in range(5)]), (64, 64), 32)
    assert cost.largest == (64, 64)
    assert cost.first == 128 * 128 * 1.5
    assert cost.later > 10 * cost.first


def test_a_blank_first_image_of_an_animation_is_passed_over_also_in_avif() -> None:
    decoded = decode(boxes.animated(Image.new("RGB", (320, 240)), scene()), (224, 224), LIMITS)
    assert decoded.image.array.any()


def test_a_grid_that_tells_the_truth_is_decoded() -> None:
    for kind in ("AVIF", "HEIC"):
        data = boxes.derived(kind, (128, 64), says=(256, 128), has=(256, 128))
        assert (256, 128) == (decode(data, (64, 64), LIMITS).facts.width, decode(data, (64, 64), LIMITS).facts.height)


def test_more_pixels_than_the_limit_are_refused_whatever_the_container_says() -> None:
    for data in (
        boxes.saying(boxes.plain("AVIF", 1200, 1200), (1200, 1200), (64, 64)),
        boxes.derived("HEIC", (1200, 1200), count=(1, 1), says=(64, 64), has=(64, 64)),
    ):
        with pytest.raises(Unreadable, match="1200 x 1200 pixels are more than max_pixels") as caught:
            decode(data, (64, 64), LIMITS)
        assert caught.value.code == "too_many_pixels"


def test_a_heic_is_not_decoded_at_a_larger_size_than_it_says() -> None:
    """Its library refuses it, since libheif 1.23."""
    with pytest.raises(Undecodable):
        decode(boxes.saying(boxes.plain("HEIC", 1200, 1200), (1200, 1200), (64, 64)), (64, 64), LIMITS)


@pytest.mark.parametrize("part", [b"av01", b"iloc", b"mdat\x12\0\x0a"])
def test_an_avif_without_a_frame_is_damaged(part: bytes) -> None:
    data = boxes.plain("AVIF", 64, 64)
    assert part in data
    with pytest.raises(Undecodable):
        decode(data.replace(part, part[:-1] + b"\xff"), (64, 64), LIMITS)


@pytest.mark.parametrize(
    "data",
    [
        boxes.plain("AVIF", 64, 64) + boxes.box(b"free") * 11_000,
        boxes.animated(*[scene(64, 64)] * 2, last=b"\x12\0" * 11_000),
        boxes.derived("AVIF", (16, 16), count=(128, 80), says=(64, 64), has=(64, 64)),
    ],
    ids=["boxes", "units", "items"],
)
def test_an_avif_of_too_many_parts_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        decode(data, (64, 64), LIMITS)
    assert caught.value.code == "metadata_too_large"
