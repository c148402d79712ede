"""What the API answers: the models from which its description is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """A JSON object; fields without a value are left out."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class Position(Answer):
    """A place in a query, characters from its start."""

    start: int = Field(alias="from", ge=0)
    to: int = Field(ge=0)


class ErrorDetails(Answer):
    """What went wrong, and what to do."""

    code: str
    message: str
    hint: str
    position: Position | None = None


class ErrorAnswer(Answer):
    """An error."""

    error: ErrorDetails


class Place(Answer):
    """Degrees."""

    lat: float = Field(ge=-90, le=90)
    lng: float = Field(ge=-180, le=180)


Names = Mapping[str, str]


class Hit(Answer):
    """An object as a search shows it. Times are seconds since 1970."""

    id: str
    site: str
    bucket: str
    key: str
    status: Literal["labelled", "unlabelled", "refused", "failed"]
    code: str | None = Field(default=None, description="Why it has no labels, or why none are written on it.")
    reason: str | None = None
    labels: Mapping[str, float] = Field(description="Confidence by label, best first.")
    ancestors: tuple[str, ...] = ()
    top_label: str | None = None
    top_confidence: float | None = None
    category: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = Field(default=None, description="Bytes.")
    type: str | None = None
    when: int | None = Field(default=None, description="When it was taken, else modified.")
    taken: int | None = None
    modified: int | None = None
    place: Place | None = Field(default=None, alias="_geo")
    camera: str | None = None
    names: Names = Field(
        default={}, description="How its labels and ancestors are displayed, where that differs from what they are."
    )
    thumb: str = Field(description="Path of its thumbnail.")


class SimilarHit(Hit):
    """An object that looks like another."""

    similarity: float = Field(description="Cosine of the two vectors: 1 is equal.")


class Chip(Answer):
    """One condition of a query."""

    text: str
    negative: bool
    without: str = Field(description="The query without it.")
    field: str | None = Field(default=None, description="The field, if it asks for values of one field.")
    values: tuple[str, ...] = Field(default=(), description="These values; one of them is enough.")


class QueryForm(Answer):
    """A query as it was understood."""

    text: str
    chips: tuple[Chip, ...]


class Note(Answer):
    """A word that neither the index nor the model knows."""

    word: str
    near: tuple[str, ...]


Counts = Mapping[str, int]
Facets = Mapping[str, Counts]


class SearchAnswer(Answer):
    """A page of hits."""

    total: int = Field(ge=0, description="Hits in all.")
    hits: tuple[Hit, ...]
    next: int | None = Field(default=None, description="`offset` of the next page, if there is one.")
    facets: Facets = Field(description="Field, value, number of hits that have it.")
    names: Names = Field(default={}, description="How values of the facets are displayed, where that differs.")
    query: QueryForm
    notes: tuple[Note, ...] = ()
    near: tuple[str, ...] = Field(default=(), description="Labels that the model knows near an empty result.")


class FacetAnswer(Answer):
    """How often values occur."""

    total: int = Field(ge=0)
    facets: Facets
    names: Names = Field(default={}, description="How values are displayed, where that differs.")


class SuggestAnswer(Answer):
    """What the typed text may become, most frequent first."""

    suggestions: tuple[str, ...]


class SimilarAnswer(Answer):
    """What looks like an object, nearest first."""

    hits: tuple[SimilarHit, ...]


class Provenance(Answer):
    """Where the labels come from."""

    model: str | None = None
    model_digest: str | None = None
    rules: str | None = None
    time: int | None = Field(default=None, description="When it was labelled, seconds since 1970.")
    content: str | None = Field(default=None, description="Digest of the bytes that were labelled.")
    etag: str | None = None


class ObjectAnswer(Hit):
    """All that is known of one object; further fields are those of its document."""

    model_config = ConfigDict(extra="allow")

    location: str = Field(description="`s3://BUCKET/KEY`, or the path of the file.")
    provenance: Provenance


class LabelConfidence(Answer):
    """A label."""

    label: str
    confidence: float = Field(ge=0, le=1)


class LabelAnswer(Answer):
    """What is on an image that was sent."""

    labels: tuple[LabelConfidence, ...]
    ancestors: tuple[LabelConfidence, ...]
    names: Names = Field(default={}, description="How labels and ancestors are displayed, where that differs.")
    model: str
    ms: float


class Totals(Answer):
    """Objects by status; `not_written`: labelled, but nothing was written on them."""

    labelled: int
    unlabelled: int
    refused: int
    failed: int
    not_written: int


class Day(Answer):
    """Objects of a day, or of a month where the days are too many."""

    day: str
    count: int


class Share(Answer):
    """Objects whose best label is so sure: at least `from`, less than `to`."""

    start: float = Field(alias="from")
    to: float
    count: int


class Condition(Answer):
    """Whether a part works."""

    ok: bool
    reason: str | None = None


class ModelName(Answer):
    """The model in use."""

    name: str
    digest: str


class DashboardAnswer(Answer):
    """The state of the site at a glance. What would say something of hidden buckets is null."""

    totals: Totals
    over_time: tuple[Day, ...]
    labels: Counts
    categories: Counts
    names: Names = Field(default={}, description="How labels and categories are displayed, where that differs.")
    confidence: tuple[Share, ...]
    failures: Counts
    backlog: int | None
    throughput: float | None = Field(description="Objects a second, over the last minute.")
    store: Condition
    index: Condition
    model: ModelName
    stale: int | None = Field(description="Objects with labels of another model than those in use.")


class SessionAnswer(Answer):
    """Whether a token is needed, and whether this client has given it."""

    needed: bool
    ok: bool


class TokenBody(BaseModel):
    """The token."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=4096)
