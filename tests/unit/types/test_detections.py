"""What a model says in its own words, as it stands on an object."""

import pytest

from imgtag.types.detections import MAX_BOXES, MAX_DETECTIONS, Box, Detection, clip
from imgtag.types.labels import Raw

DOG = Detection(
    name="Dog: big/small, @home",
    confidence=0.9812,
    parents=("Pet", "Animal"),
    synonyms=("Hund+Katze", "犬"),
    category="Animals & Pets",
    boxes=(Box(0.12, 0.045, 0.5, 0.4), Box(0.0, 0.0, 1.0, 1.0)),
)
PET = Detection(name="Pet", confidence=0.9712, parents=("Animal",))
PLAIN = Detection(name="Grass", confidence=0.5)


@pytest.mark.parametrize("detections", [(DOG,), (DOG, PET), (DOG, PET, PLAIN), (PLAIN,)])
def test_detections_are_read_as_they_were_written(detections):
    """Whatever is in a name; a parent that was detected itself is written once."""
    raw = Raw.of_detections(detections)

    assert Raw.decode(raw.encode()) == raw
    assert raw.detections == detections
    assert raw.encode().isascii()
    assert raw.encode().isprintable()


def test_detections_are_compact():
    """Names are not repeated, and empty parts at the end are left out."""
    assert (
        "@Dog:9812:@1:::1-2-3-4,Pet:9700,Grass:5000"
        == Raw.of_detections(
            [
                Detection(name="Grass", confidence=0.5),
                Detection(name="Dog", confidence=0.9812, parents=("Pet",), boxes=(Box(0.001, 0.002, 0.003, 0.004),)),
                Detection(name="Pet", confidence=0.97),
            ]
        ).encode()
    )


def test_classes_are_the_places_of_detections():
    """So that the label engine counts both alike."""
    raw = Raw.of_detections([PLAIN, DOG])

    assert raw.classes == ((0, 0.9812), (1, 0.5))


@pytest.mark.parametrize(
    "text",
    [
        "@",
        "@Dog",
        "@Dog:0",
        "@Dog:10001",
        "@Dog:x",
        "@:9000",
        "@Dog:9000:@5",
        "@Dog:9000:@-x",
        "@Dog:9000::::1-2-3",
        "@Dog:9000::::1-2-3-0",
        "@Dog:9000::::900-0-900-10",
        "@Dog:9000:::::",
        "@Dög:9000",
        "@D%0Aog:9000",
        f"@{'x' * 101}:9000",
        "@" + ",".join(f"a{n}:9000" for n in range(MAX_DETECTIONS + 1)),
        "@Dog:9000::::" + "/".join(["1-1-1-1"] * (MAX_BOXES + 1)),
        "@Dog:9000:" + "/".join(f"p{n}" for n in range(13)),
    ],
)
def test_what_was_not_written_by_a_sidecar_is_nothing(text):
    """Users can write on objects."""
    assert Raw.decode(text) is None


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        (Box(-0.1, 0.5, 0.3, 0.7), Box(0.0, 0.5, 0.2, 0.5)),
        (Box(0.1234, 0.1, 0.5, 0.5), Box(0.123, 0.1, 0.5, 0.5)),
        (Box(1.2, 0.1, 0.5, 0.5), None),
        (Box(0.1, 0.1, 0.0, 0.5), None),
        (Box(float("nan"), 0.1, 0.5, 0.5), None),
        (Box(0.1, 0.1, float("inf"), 0.5), None),
    ],
)
def test_a_box_ends_at_the_edge_of_the_image(box, clipped):
    """What lies outside is no place on it."""
    assert clip(box) == clipped
