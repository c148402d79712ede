"""Documents to search in, as the sidecar makes them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from math import cos, radians, sin
from typing import Any

from imgtag.stages.document import DocumentOptions, build_document
from imgtag.types.document import Document, Problem
from imgtag.types.facts import Facts
from imgtag.types.labels import Label
from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag.types.vector import LENGTH, Vector

SITE, BUCKET = "home", "wildlife"
NEW_YEAR = 1_704_067_200
"""The first second of 2024, UTC."""


def document(
    key: str,
    labels: Mapping[str, float] | None = None,
    *,
    site: str = SITE,
    bucket: str = BUCKET,
    size: int = 1_000,
    content_type: str = "image/jpeg",
    when: int = NEW_YEAR,
    facts: Mapping[str, Any] | None = None,
    user: Mapping[str, str] | None = None,
    problem: Problem | None = None,
    ancestors: Mapping[str, float] | None = None,
    category: str | None = None,
    vec: Vector | None = None,
) -> Document:
    """Make a document. ``when`` is the time of the upload; ``facts`` has width, height, taken, camera, lat, lng."""
    ref = ObjectRef(bucket, key)
    state = ObjectState(ref=ref, etag=f'"{len(key)}-{size}"', size=size, modified=when, content_type=content_type)
    entries = Entries(
        labels=tuple(Label(name, confidence) for name, confidence in (labels or {}).items()),
        mark=None
        if problem and problem.status
        else Mark(
            model="lite0@5f2c9a1b",
            rules="a1b2c3d4",
            content="c",
            etag=state.etag,
            etag_after=state.etag,
            owner=owner_digest(site, state.ref),
            at=NEW_YEAR,
        ),
        facts=Facts(**(facts or {})),
        vec=vec,
    )
    options = DocumentOptions(metadata=tuple(user or ()))
    made = build_document(site, state, entries, user or {}, options, problem)
    if ancestors:
        made = {
            **made,
            "ancestors": list(ancestors),
            "scores": {**made["scores"], **ancestors},
            "terms": sorted({*made["terms"], *ancestors}),
        }
    return {**made, "category": category} if category else made


def direction(degrees: float, projection: str = "svd1") -> Vector:
    """A vector that lies in the plane of the first two numbers, at an angle to the first."""
    numbers = [round(127 * cos(radians(degrees))), round(127 * sin(radians(degrees)))]
    return Vector(projection, array("b", [*numbers, *[0] * (LENGTH - 2)]).tobytes())


KIT = document(
    "2024/Zoo/kit fox 01.jpg",
    {"kit fox": 0.61, "red fox": 0.27},
    size=4_812_377,
    facts={"width": 6000, "height": 4000, "taken": 1_719_842_400, "camera": "Canon EOS R5", "lat": 46.55, "lng": 7.95},
    user={"license": "2"},
    ancestors={"animal": 0.91, "fox": 0.88},
    category="animal",
    vec=direction(0),
)
DOG = document(
    "2024/dog.png",
    {"dalmatian": 0.9},
    content_type="image/png",
    when=NEW_YEAR - 1,
    facts={"width": 640, "height": 480},
    ancestors={"animal": 0.93, "dog": 0.92},
    category="animal",
    vec=direction(40),
)
DESSERT = document(
    "2023/Cr\u00e8me br\u00fbl\u00e9e.jpg",
    {"cr\u00e8me br\u00fbl\u00e9e": 0.5},
    facts={"width": 4000, "height": 3000, "camera": "Caf\u00e9 Cam"},
    user={"license": "CC-BY 4.0", "Caption": "Pudding"},
    category="food",
    vec=direction(90),
)
ATTIC = document(
    "fox.jpg",
    {"red fox": 0.88, "kit fox": 0.12},
    bucket="attic",
    when=NEW_YEAR + 86_400,
    size=1_000_000,
    facts={"lat": -17.0, "lng": 179.95},
    ancestors={"animal": 0.99},
    category="animal",
    vec=direction(-15),
)
BERNARD = document(
    'st.bernard\'s "best".jpg',
    {"st. bernard": 0.4, 'a "b" \\c': 0.2, "it's; drop table": 0.1},
    when=NEW_YEAR - 40 * 86_400,
    vec=direction(0, "svd2"),
)
PERCENT = document("100%_done*.jpg", {"\U0001f98a": 0.3}, when=NEW_YEAR + 1)
PLAIN = document("100x_donexy.jpg", {"foxglove": 0.7}, when=NEW_YEAR + 2, category="plant", vec=direction(180))
NOTHING = document("empty/nothing.jpg", when=NEW_YEAR + 3, vec=direction(5))
BAD = document(
    "broken/fox.jpg", when=NEW_YEAR + 4, problem=Problem(code="undecodable", reason="no picture", status="failed")
)
HUGE = document(
    "huge.tif",
    content_type="image/tiff",
    size=9_000_000_000,
    when=NEW_YEAR + 5,
    problem=Problem(code="too_large", reason="9 GB are over the limit", status="refused"),
)
LOCKED = document(
    "locked/owl.jpg", {"owl": 0.33}, when=NEW_YEAR + 6, problem=Problem(code="retention", reason="it is locked")
)

CORPUS: Mapping[str, Document] = {
    "kit": KIT,
    "dog": DOG,
    "dessert": DESSERT,
    "attic": ATTIC,
    "bernard": BERNARD,
    "percent": PERCENT,
    "plain": PLAIN,
    "nothing": NOTHING,
    "bad": BAD,
    "huge": HUGE,
    "locked": LOCKED,
}
"""The documents of one index, by the names that the tests use."""
