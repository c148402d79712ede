"""Vectors: as an entry and as numbers."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.types.packed import pack
from imgtag.types.vector import Vector, cosine, space

from . import strategies as some

RAMP = Vector("svd1", bytes(range(128, 256)))


def entry(values: bytes, projection: str = "svd1") -> str:
    return pack({"p": projection, "v": urlsafe_b64encode(values).decode().rstrip("=")})


@given(some.vectors)
def test_a_vector_comes_back(vector: Vector) -> None:
    assert Vector.decode(vector.encode()) == vector
    assert len(vector.encode()) <= 2 * 128 - 50


def test_bytes_are_signed_numbers() -> None:
    assert list(range(-128, 0)) == RAMP.numbers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1;p=svd1",
        f"1;v={'A' * 170}B",
        entry(bytes(128)),
        entry(bytes([1] * 127)),
        entry(bytes([1] * 129)),
        entry(RAMP.values, ""),
        entry(RAMP.values, "Other Space"),
        entry(RAMP.values, "a" * 21),
        entry(RAMP.values).replace("1;", "2;"),
        entry(RAMP.values) + "\u00e9",
    ],
)
def test_what_is_no_vector_is_none(text: str) -> None:
    """Of another length, of a name that no space has, or without any direction."""
    assert Vector.decode(text) is None


@given(st.text())
def test_any_text_is_a_vector_or_none(text: str) -> None:
    Vector.decode(f"1;p=svd1;v={text}")
    Vector.decode(text)


def test_another_model_or_projection_is_another_space() -> None:
    names = {space(model, projection) for model in ("m@1", "m@2") for projection in ("svd1", "svd2")}
    assert len(names) == 4


def test_the_cosine_is_of_directions_alone() -> None:
    assert cosine([1, 0], [5, 0]) == 1
    assert cosine([1, 0], [0, 5]) == 0
    assert cosine([1, 1], [-2, -2]) == pytest.approx(-1)
    assert cosine([0, 0], [1, 1]) == 0
