"""Draw the test image of `imgtag doctor --send`: a digital clock, one of the classes of ImageNet.

`python scripts/clock.py` writes it into the package.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

TARGET = Path(__file__).parents[1] / "sidecar" / "imgtag" / "jobs" / "clock.jpg"
SIZE = 320
LIT, CASE, TABLE = "#ff3020", "#0a0a0a", "#3b3b3b"
SEGMENTS = {"0": "abcdef", "1": "bc", "2": "abged", "8": "abcdefg"}
DIGITS = ((38, "1"), (99, "2"), (176, "0"), (237, "8"))
"""Left edge in pixels, and the digit."""
TOP, WIDTH, HEIGHT, BAR = 112, 45, 96, 8


def draw() -> Image.Image:
    """Return the image: RGB, flat colours and no font, so that it is the same on every machine."""
    picture = Image.new("RGB", (SIZE, SIZE), TABLE)
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((16, 80, 304, 240), 16, fill=CASE)
    for left, digit in DIGITS:
        for segment in SEGMENTS[digit]:
            pen.rectangle(_segment(segment, left), fill=LIT)
    for top in (133, 178):
        pen.rectangle((155, top, 164, top + 9), fill=LIT)
    return picture


def _segment(name: str, left: int) -> tuple[int, int, int, int]:
    right, middle, bottom = left + WIDTH, TOP + HEIGHT // 2, TOP + HEIGHT
    return {
        "a": (left, TOP, right, TOP + BAR),
        "b": (right - BAR, TOP, right, middle),
        "c": (right - BAR, middle, right, bottom),
        "d": (left, bottom - BAR, right, bottom),
        "e": (left, middle, left + BAR, bottom),
        "f": (left, TOP, left + BAR, middle),
        "g": (left, middle - BAR // 2, right, middle + BAR // 2),
    }[name]


if __name__ == "__main__":
    draw().save(TARGET, quality=90)
