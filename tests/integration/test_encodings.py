"""The same photograph in every encoding has the same label, and how much of it may be missing is one number."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgtag.errors import ImgtagError
from imgtag.workers.child import camera_raw, jpeg
from imgtag.workers.child.completeness import MAX_MISSING
from imgtag.workers.child.decode import decode
from imgtag_tflite import SPEC
from picture_limits import LIMITS
from unit.workers import encodings
from unit.workers.pictures import encoded, noise

LABEL = "espresso"
SIZE = (224, 224)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A cup of coffee."""
    spec = importlib.util.find_spec("skimage")
    assert spec
    assert spec.origin
    with Image.open(Path(spec.origin).parent / "data/coffee.png") as picture:
        return picture.convert("RGB")


@pytest.fixture(scope="module")
def label_of() -> Callable[[bytes], str]:
    """The best label of a file, or the code of its error."""
    classifier = SPEC.load()(SPEC.settings())

    def label_of(data: bytes) -> str:
        try:
            (scores,) = classifier.classify([decode(data, classifier.info.size, LIMITS).image])
        except ImgtagError as error:
            return error.code
        return classifier.info.labels[int(np.argmax(scores.probabilities))]

    return label_of


def test_one_photograph_has_one_label_in_every_encoding(photo: Image.Image, label_of: Callable[[bytes], str]) -> None:
    """More than 50 encodings of ten formats."""
    files = encodings.encodings(photo)
    labels = {name: label_of(data) for name, data in files.items()}
    assert labels == dict.fromkeys(files, LABEL)
    assert len(labels) > 50


JPEGS = {
    "JPEG": {},
    "JPEG CMYK": {"mode": "CMYK"},
    "JPEG progressive": {"progressive": True},
    "JPEG 4:4:4": {"subsampling": "4:4:4"},
    "JPEG grey": {"mode": "L"},
}


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("ending", [b"", jpeg.END, jpeg.END + bytes(500)])
def test_a_jpeg_is_whole_by_its_rows_and_not_by_its_end(
    photo: Image.Image, label_of: Callable[[bytes], str], name: str, ending: bytes
) -> None:
    """Cut off or ended early by a marker: the same part may be missing."""
    options = dict(JPEGS[name])
    picture = photo.convert(str(options.pop("mode", "RGB")))
    whole = encoded(picture, "JPEG", quality=92, **options)[:-2]
    assert label_of(whole + ending) == LABEL
    assert label_of(whole[: len(whole) * 97 // 100] + ending) == LABEL
    if not options.get("progressive"):
        assert label_of(whole[: len(whole) * 6 // 10] + ending) == "truncated"
    first_scan = whole.index(b"\xff\xda") + (len(whole) // 40)
    assert label_of(whole[:first_scan] + ending) == "truncated"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {"compression": "raw"}),
        ("GIF", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_as_much_of_any_other_format_may_be_missing(
    photo: Image.Image, label_of: Callable[[bytes], str], kind: str, options: dict[str, object]
) -> None:
    """A twentieth may, half may not."""
    whole = encoded(photo, kind, **options)
    if kind == "TIFF":  # its directory comes last: with that the picture would be gone
        pixels = photo.tobytes()
        tags = [(256, 4, photo.width), (257, 4, photo.height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 130)]
        tags += [(277, 3, 1), (278, 4, photo.height), (279, 4, photo.width * photo.height)]
        pixels = photo.convert("L").tobytes()
        whole = (b"II*\0\x08\0\0\0" + encodings._directory(tags, "<", 0)).ljust(130, b"\0") + pixels
    assert label_of(whole) == LABEL
    assert label_of(whole[: len(whole) * 19 // 20]) == LABEL
    assert label_of(whole[: len(whole) // 2]) == "truncated"


@pytest.mark.parametrize("significant", [None, 12])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_as_much_of_samples_of_twelve_bits_may_be_missing(
    photo: Image.Image, label_of: Callable[[bytes], str], mode: str, significant: int | None
) -> None:
    """What stands for missing samples does not change the range that the others are stretched to."""
    whole = encodings.deep_png(np.asarray(photo.convert(mode)).astype(np.uint16) * 16, significant)
    assert label_of(whole[: len(whole) * 24 // 25]) == LABEL
    assert label_of(whole[: len(whole) // 2]) == "truncated"


def test_grey_that_is_meant_is_not_missing(label_of: Callable[[bytes], str]) -> None:
    """A picture whose lower half is the grey that decoders put in the place of what they lack."""
    picture = noise(320, 240)
    picture.paste((128, 128, 128), (0, 100, 320, 240))
    for options in ({}, {"progressive": True}, {"quality": 100, "subsampling": "4:4:4"}):
        whole = encoded(picture, "JPEG", **options)
        for data in (whole, whole[:-2]):
            decode(data, SIZE, LIMITS)
    assert label_of(encoded(Image.new("RGB", (300, 300), (128, 128, 128)), "JPEG")) not in {"truncated", "undecodable"}


def test_what_may_be_missing_is_the_documented_number() -> None:
    """A tenth, in the page and in the code."""
    page = (Path(__file__).parents[2] / "docs/reference/formats.md").read_text()
    assert MAX_MISSING == 0.1
    assert "Up to 10 % of the pixels" in page


def test_a_raw_file_without_a_preview_says_so(photo: Image.Image, label_of: Callable[[bytes], str]) -> None:
    """And a preview that is the raw picture itself, a lossless JPEG, is none."""
    preview = encoded(photo, "JPEG")
    lossless = preview.replace(b"\xff\xc0", b"\xff\xc3", 1)
    assert label_of(encodings.camera_raw(preview, order=">")) == LABEL
    assert label_of(encodings.camera_raw(lossless)) == "unsupported_format"
    assert label_of(encodings.camera_raw(b"")) == "unsupported_format"
    assert label_of(encodings.camera_raw(preview, magic=b"CR\x02\0")[:-130]) == "truncated"
    assert camera_raw.read_camera_raw(encoded(photo, "TIFF")) is None


def test_directories_of_a_raw_file_that_go_in_circles_end(photo: Image.Image) -> None:
    """Whatever offsets and counts are, as many directories are read as files of cameras have."""
    good = encodings.camera_raw(encoded(photo, "JPEG"), sub_directories=True)
    chance = random.Random(7)
    for _ in range(500):
        data = bytearray(good)
        for _ in range(chance.randint(1, 12)):
            place = len(data) - chance.randint(1, 200)
            data[place] = chance.randrange(256)
        camera_raw.read_camera_raw(bytes(data))
