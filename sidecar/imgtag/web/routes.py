"""Every operation of the API: its path, its parameters, its answers, and what limits it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache

from starlette.requests import Request
from starlette.responses import Response

from imgtag.web.answers import (
    DashboardAnswer,
    FacetAnswer,
    LabelAnswer,
    ObjectAnswer,
    SearchAnswer,
    SessionAnswer,
    SimilarAnswer,
    SuggestAnswer,
    TokenBody,
)
from imgtag.web.api import SLOW_UPLOAD, Api
from imgtag.web.operations import LaneName, Operation, describe
from imgtag.web.parameters import (
    DashboardParameters,
    FacetParameters,
    NoParameters,
    ObjectParameters,
    OriginalParameters,
    SearchParameters,
    SimilarParameters,
    SuggestParameters,
    ThumbnailParameters,
)

LANES: Mapping[LaneName, tuple[int, int]] = {
    "searches": (4, 200),
    "pictures": (8, 200),
    "originals": (8, 200),
    "uploads": (4, 4),
}
"""How many requests of a kind run at once, and how many may wait, for all clients."""
_ABSENT = {404: "There is no such object, or none that may be shown."}
_ERRORS_OF_IMAGES = {
    **_ABSENT,
    409: "The object changes right now.",
    413: "The object is over `max_bytes`.",
    422: "The object is no image that can be decoded; `code` says why.",
}


async def openapi(_api: Api, _: Request, __: NoParameters) -> Response:
    """Describe this API, as OpenAPI 3.1."""
    return Response(_description(), media_type="application/json")


@cache
def _description() -> bytes:
    """Made once: it takes as long as a search, and needs no token."""
    return json.dumps(describe(OPERATIONS)).encode()


OPERATIONS: Sequence[Operation] = (
    Operation(
        name="search",
        method="GET",
        path="/api/search",
        handler=Api.search,
        parameters=SearchParameters,
        answers={200: SearchAnswer},
        lane="searches",
    ),
    Operation(
        name="facets",
        method="GET",
        path="/api/facets",
        handler=Api.facets,
        parameters=FacetParameters,
        answers={200: FacetAnswer},
        lane="searches",
    ),
    Operation(
        name="suggest",
        method="GET",
        path="/api/suggest",
        handler=Api.suggest,
        parameters=SuggestParameters,
        answers={200: SuggestAnswer},
        lane="searches",
    ),
    Operation(
        name="similar",
        method="GET",
        path="/api/similar",
        handler=Api.similar,
        parameters=SimilarParameters,
        answers={200: SimilarAnswer},
        errors={**_ABSENT, 422: "The object has no vector."},
        lane="searches",
    ),
    Operation(
        name="object",
        method="GET",
        path="/api/objects/{id}",
        handler=Api.object,
        parameters=ObjectParameters,
        answers={200: ObjectAnswer},
        errors=_ABSENT,
        lane="searches",
    ),
    Operation(
        name="thumbnail",
        method="GET",
        path="/api/objects/{id}/thumb",
        handler=Api.thumbnail,
        parameters=ThumbnailParameters,
        answers={200: ("image/webp", "image/jpeg", "image/avif"), 304: None},
        errors=_ERRORS_OF_IMAGES,
        lane="pictures",
        seconds=60,
    ),
    Operation(
        name="original",
        method="GET",
        path="/api/objects/{id}/original",
        handler=Api.original,
        parameters=OriginalParameters,
        answers={200: ("*/*",), 206: ("*/*",), 304: None, 416: None},
        errors=_ERRORS_OF_IMAGES,
        lane="originals",
        seconds=None,
    ),
    Operation(
        name="label",
        method="POST",
        path="/api/label",
        handler=Api.label,
        body=("image/*", "application/octet-stream"),
        answers={200: LabelAnswer},
        errors={
            411: "The length is missing.",
            408: "The bytes did not arrive in time.",
            413: "The image is over `max_bytes`.",
            422: "This is no image that can be decoded; `code` says why.",
        },
        lane="uploads",
        seconds=SLOW_UPLOAD + 60,
    ),
    Operation(
        name="arrivals",
        method="GET",
        path="/api/arrivals",
        handler=Api.arrivals,
        answers={200: ("text/event-stream",)},
        seconds=None,
    ),
    Operation(
        name="dashboard",
        method="GET",
        path="/api/dashboard",
        handler=Api.dashboard,
        parameters=DashboardParameters,
        answers={200: DashboardAnswer},
        lane="searches",
        seconds=60,
    ),
    Operation(
        name="session",
        method="GET",
        path="/api/session",
        handler=Api.session,
        answers={200: SessionAnswer},
    ),
    Operation(
        name="open_session",
        method="POST",
        path="/api/session",
        handler=Api.open_session,
        body=TokenBody,
        answers={204: None},
        errors={413: "The body is too large."},
    ),
    Operation(
        name="close_session",
        method="DELETE",
        path="/api/session",
        handler=Api.close_session,
        answers={204: None},
    ),
    Operation(
        name="openapi",
        method="GET",
        path="/api/openapi.json",
        handler=openapi,
        answers={200: ("application/json",)},
    ),
)
