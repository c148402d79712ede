"""What requests may ask for: the parameters of each operation, with their limits."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from imgtag.query.parser import MAX_LENGTH
from imgtag.search import facet_error
from imgtag.types.thumbnail import MAX_SIDE, ROTATIONS

MAX_HITS = 200
MAX_OFFSET = 100_000
MAX_FACETS = 10
DEFAULT_SIDE = 320
"""Pixels."""
_NUMBER = re.compile(r"(?:0|1)?(?:\.[0-9]{1,6})?")


def _split_facets(text: Any) -> Any:
    parts = text.split(",") if isinstance(text, str) else text
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _check_facets(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if message := facet_error(name):
            raise ValueError(message)
    return names


def _check_rotation(degrees: int) -> int:
    if degrees not in ROTATIONS:
        raise ValueError(f"write one of {', '.join(map(str, ROTATIONS))}")
    return degrees


def _check_crop(text: str) -> str:
    parts = text.split(",")
    if text in {"", "cover"}:
        return text
    if len(parts) != 4 or not all(part and _NUMBER.fullmatch(part) for part in parts):
        raise ValueError("write cover, or four shares from 0 to 1: LEFT,UPPER,WIDTH,HEIGHT")
    left, upper, width, height = map(float, parts)
    if not (width > 0 and height > 0 and left + width <= 1 + 1e-6 and upper + height <= 1 + 1e-6):
        raise ValueError("the part must lie within the image: LEFT + WIDTH and UPPER + HEIGHT are at most 1")
    return text


Id = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Id of the document: hex, 64 digits.")]
QueryText = Annotated[
    str,
    Field(
        max_length=MAX_LENGTH, description="A query, in the language of `imgtag search`. Empty: everything labelled."
    ),
]
Confidence = Annotated[
    float, Field(ge=0, le=1, allow_inf_nan=False, description="Without labelled objects whose best label is less sure.")
]
Facets = Annotated[tuple[str, ...], BeforeValidator(_split_facets), AfterValidator(_check_facets)]


class Parameters(BaseModel):
    """The parameters of an operation; none may be unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParameters(Parameters):
    """There are none."""


class ObjectParameters(Parameters):
    """Names one object."""

    id: Id


class SearchParameters(Parameters):
    """Which part of a search is wanted."""

    q: QueryText = ""
    limit: int = Field(default=50, ge=0, le=MAX_HITS, description="Maximum number of hits.")
    offset: int = Field(default=0, ge=0, le=MAX_OFFSET, description="Hits to skip: `next` of the answer before.")
    facets: Facets = Field(
        default=(), max_length=MAX_FACETS, description="Fields whose values are counted, separated by commas."
    )
    alternatives: bool = Field(
        default=False,
        description="Count the values of a field as if the query asked for none of them, so that each count says what "
        "`OR` with that value adds. Of `status`, all values are counted.",
    )
    confidence: Confidence = 0.0
    sort: Literal["best", "newest"] = Field(
        default="best", description="`best`: by the confidence of the first label of the query, then newest first."
    )


class FacetParameters(Parameters):
    """Which values are counted."""

    q: QueryText = ""
    fields: Facets = Field(
        default=("labels", "category"),
        max_length=MAX_FACETS,
        description="Fields whose values are counted, separated by commas.",
    )
    alternatives: bool = Field(
        default=False,
        description="Count the values of a field as if the query asked for none of them, so that each count says what "
        "`OR` with that value adds. Of `status`, all values are counted.",
    )
    confidence: Confidence = 0.0


class SuggestParameters(Parameters):
    """The beginning of a label."""

    prefix: str = Field(max_length=100, description="What was typed so far.")
    limit: int = Field(default=10, ge=1, le=50, description="Maximum number of suggestions.")


class SimilarParameters(Parameters):
    """To which object, and among which others."""

    id: Id
    q: QueryText = ""
    limit: int = Field(default=20, ge=1, le=MAX_HITS, description="Maximum number of hits.")


class DashboardParameters(Parameters):
    """What is summed up."""

    q: QueryText = ""


class ThumbnailParameters(ObjectParameters):
    """Size and part of an image."""

    width: int | None = Field(default=None, ge=1, le=MAX_SIDE, description="Maximum width, pixels.")
    height: int | None = Field(default=None, ge=1, le=MAX_SIDE, description="Maximum height, pixels.")
    crop: Annotated[str, AfterValidator(_check_crop)] = Field(
        default="",
        max_length=60,
        description="`cover`: the middle of the image fills the whole box. Or LEFT,UPPER,WIDTH,HEIGHT of the part to "
        "show, as shares of the upright image from 0 to 1.",
    )
    rotate: Annotated[int, AfterValidator(_check_rotation)] = Field(
        default=0, description="Degrees clockwise, after the orientation in the EXIF was applied: 0, 90, 180 or 270."
    )


class OriginalParameters(ObjectParameters):
    """How the object is sent."""

    download: bool = Field(default=False, description="Whether a browser shall save it instead of showing it.")
