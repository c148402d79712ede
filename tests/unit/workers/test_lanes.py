"""The lane for small images: decoding takes no more memory than it has, or the file is refused there."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from imgtag.types.picture_limits import WORKER_OVERHEAD
from imgtag.workers.child import directories
from imgtag.workers.pool import MODEST_MEMORY

from . import boxes
from .pictures import encoded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLACK = WORKER_OVERHEAD * 3 // 4
"""Bytes for what is not the image: its small copy, pages of libraries that are used for the first time."""
MEASURE = """
import json, os, re, sys
from pathlib import Path
from PIL import Image
from imgtag.errors import ImgtagError
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.child.decode import decode

limits = PictureLimits(pixels=10**8, frames=10_000, memory=int(sys.argv[2]), seconds=30)

def status(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    if os.fork():
        os.wait()
        continue
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts over
    before, code = status("VmRSS"), "ok"
    try:
        decode(data, (224, 224), limits)
    except ImgtagError as error:
        code = error.code
    print(json.dumps([path.name, status("VmHWM") - before + len(data), code]), flush=True)
    os._exit(0)
"""


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *more: bytes) -> bytes:
    """A grey PNG of any size, which takes little time and memory to make."""
    packer, row = zlib.compressobj(1), bytes(1 + width)
    rows = max(1, (1 << 20) // len(row))
    pieces = [packer.compress(row * min(rows, height - first)) for first in range(0, height, rows)]
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", b"".join([*pieces, packer.flush()]))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + pixels + chunk(b"IEND", b"")


def directory(*entries: tuple[int, int, int, bytes]) -> bytes:
    """A TIFF, or an EXIF block: tag, type, count and value of each entry."""
    rows, values, start = b"", b"", 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in sorted(entries):
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(values))
        rows += struct.pack("<HHI", tag, kind, count) + place
        values += value if len(value) > 4 else b""
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4) + values


def tiff(width: int, height: int, strips: int, *more: tuple[int, int, int, bytes]) -> bytes:
    def number(tag: int, value: int) -> tuple[int, int, int, bytes]:
        return tag, 4, 1, struct.pack("<I", value)

    size = width * height // strips
    return directory(
        *(number(256, width), number(257, height), number(258, 8), number(259, 1), number(262, 1), number(277, 1)),
        number(278, height // strips),
        (273, 4, strips, struct.pack("<I", 8) * strips),
        (279, 4, strips, struct.pack("<I", size) * strips),
        *more,
    )


def rle_bitmap(width: int, height: int, body: bytes) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(body), 0, 0, 1078) + head + bytes(1024) + body


def gif(canvas: tuple[int, int], *frames: tuple[int, int, int, int]) -> bytes:
    data = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    for left, upper, width, height in frames:
        alone = encoded(Image.new("P", (width, height)), "GIF")
        place = alone.rindex(b"\x2c" + struct.pack("<HHHH", 0, 0, width, height))
        data += (
            b"\x21\xf9\x04\x04\0\0\0\0\x2c" + struct.pack("<HHHH", left, upper, width, height) + alone[place + 9 : -1]
        )
    return data + b";"


def jpeg(*segments: tuple[int, bytes], cut: int = 0) -> bytes:
    whole = encoded(Image.new("RGB", (64, 64)), "JPEG")
    more = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return whole[:2] + more + whole[2 : len(whole) - cut]


FRACTIONS = (0x0132, 5, 2_000_000, bytes(range(1, 251)) * 64_000)
LONGS = (0x8769, 4, 3_000_000, bytes(range(1, 251)) * 48_000)
LARGE_APP = [(0xE1, b"Exif\0\0" + bytes(65_000))] * 300

FORMS: dict[str, Callable[[], bytes]] = {
    "a png of one column": lambda: png(1, 30_000_000),
    "a png of eight columns": lambda: png(8, 3_900_000),
    "a png of one row": lambda: png(30_000_000, 1),
    "a png of the highest columns": lambda: png(480, 65_535),
    "a png with much that is private": lambda: png(64, 64, chunk(b"prVt", bytes(20_000_000))),
    "a png with many small chunks": lambda: png(64, 64, chunk(b"prVt", b"") * 500_000),
    "a png with fractions for a date": lambda: png(64, 64, chunk(b"eXIf", directory(FRACTIONS))),
    "a webp with numbers in its exif": lambda: encoded(Image.new("RGB", (64, 64)), "WEBP", exif=directory(LONGS)),
    "an avif with numbers in its exif": lambda: encoded(Image.new("RGB", (64, 64)), "AVIF", exif=directory(LONGS)),
    "a tiff with fractions for a date": lambda: tiff(64, 64, 1, FRACTIONS),
    "a tiff with numbers for a profile": lambda: tiff(64, 64, 1, (34675, *LONGS[1:])),
    "a tiff with bytes of a program": lambda: tiff(64, 64, 1, (37724, 7, 20_000_000, bytes(20_000_000))),
    "a tiff of many strips": lambda: tiff(8, 1_000_000, 1_000_000),
    "a tiff of as many strips as it may have": lambda: tiff(8, 65_000, 65_000),
    "a bitmap in runs": lambda: rle_bitmap(5500, 5500, (b"\xff\x07" * 21 + b"\x91\x07\0\0") * 5500 + b"\0\1"),
    "a bitmap in jumps": lambda: rle_bitmap(5500, 5500, b"\0\2\xff\xff" * 5_000 + b"\0\1"),
    "a gif whose second frame is larger": lambda: gif((8, 8), (0, 0, 8, 8), (0, 0, 9_000, 9_000)),
    "a gif whose second frame is far away": lambda: gif((8, 8), (0, 0, 8, 8), (20_000, 20_000, 8, 8)),
    "a jpeg with much exif": lambda: jpeg(*LARGE_APP),
    "a jpeg with many segments": lambda: jpeg(*[(0xE5, b"")] * 1_000_000),
    "an avif that says it is small": lambda: boxes.saying(boxes.plain("AVIF", 7000, 7000), (7000, 7000), (64, 64)),
    "an avif grid of large tiles that say they are small": lambda: boxes.derived(
        "AVIF", (7000, 7000), tile_says=(64, 64), says=(128, 128), has=(128, 128)
    ),
    "an avif grid whose small tiles say they are large": lambda: boxes.derived(
        "AVIF", (64, 64), tile_says=(9000, 9000), says=(128, 128), has=(128, 128)
    ),
    "an animated avif whose last image is large": lambda: boxes.animated(
        *[Image.new("RGB", (64, 64))] * 3, last=boxes.content(boxes.plain("AVIF", 7000, 7000), b"mdat")
    ),
    "a heic grid of large tiles": lambda: boxes.derived(
        "HEIC", (5000, 5000), count=(1, 1), says=(64, 64), has=(64, 64)
    ),
    "a heic grid that says it is small": lambda: boxes.derived(
        "HEIC", (512, 512), count=(18, 18), says=(64, 64), has=(9216, 9216)
    ),
    "a heic overlay on a large canvas": lambda: boxes.derived(
        "HEIC", (64, 64), count=(1, 1), says=(64, 64), has=(9000, 9000), overlay=True
    ),
    "a long jpeg that is cut": lambda: jpeg(*[(0xFE, bytes(65_000))] * 300, cut=10),
}
"""Each took 40 MiB to 3 GiB before it was counted."""


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Bytes that decoding took at its peak, the file included, and how it ended."""
    folder: Path = tmp_path_factory.mktemp("forms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(directories, "MAX_NUMBERS", 1 << 40)  # it would refuse to write such files as well
        for name, make in FORMS.items():
            (folder / name).write_bytes(make())
    command = [sys.executable, "-c", MEASURE, str(folder), str(MODEST_MEMORY)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: (peak, code) for name, peak, code in map(json.loads, lines)}


@pytest.mark.parametrize("name", FORMS)
def test_nothing_takes_more_memory_than_its_lane_has(name: str, peaks: dict[str, tuple[int, str]]) -> None:
    peak, code = peaks[name]
    assert peak <= MODEST_MEMORY + SLACK, (peak >> 20, code)
    assert code in {"ok", "memory", "too_many_pixels", "metadata_too_large"}
