"""The operations: what each does with a request whose parameters are valid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError, Incomparable
from imgtag.flow.budget import ByteBudget
from imgtag.flow.serial import Serial
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin.indexer import Indexer, SearchRequest, SimilarRequest
from imgtag.plugin.store import Store
from imgtag.query import And, Compare, Is, Not, Or, Query, parse, split
from imgtag.search import (
    MAX_PAGE,
    SIMILARITY_DECIMALS,
    find_close,
    find_unknown_words,
    most_frequent,
    order_by,
    public_fields,
    suggest_terms,
    with_words,
)
from imgtag.stages.classify import Vocabularies
from imgtag.types.document import Document
from imgtag.types.folding import fold
from imgtag.types.labels import Label
from imgtag.types.mark import Mark
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef
from imgtag.web.answers import (
    Chip,
    DashboardAnswer,
    FacetAnswer,
    Hit,
    LabelAnswer,
    LabelConfidence,
    Note,
    ObjectAnswer,
    Provenance,
    QueryForm,
    SearchAnswer,
    SessionAnswer,
    SimilarAnswer,
    SimilarHit,
    SuggestAnswer,
    TokenBody,
)
from imgtag.web.arrivals import Arrivals, EventStream, to_data
from imgtag.web.dashboard import Dashboard
from imgtag.web.errors import HttpError
from imgtag.web.names import DisplayedNames
from imgtag.web.original import OriginalResponse
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
from imgtag.web.session import Sessions, read_cookie, write_cookie
from imgtag.web.thumbnails import Thumbnails, choose_format, etag_of, matches, order_of
from imgtag.web.visible import Visible
from imgtag.workers.generations import LoadedModel

MAX_TOKEN_BODY = 8192
"""Bytes."""
DASHBOARD_SECONDS = 10.0
"""For which a dashboard is shown again."""
MAX_DASHBOARDS = 100
MAX_FACET_VALUES = 1000
MAX_NEAR, MAX_NEAR_WORDS = 8, 3
SLOW_UPLOAD = 60.0
"""Seconds that the bytes of an image may take to arrive."""


@dataclass(frozen=True, kw_only=True)
class WebParts:
    """What the API works with: parts of its own, so that it does not stand in the way of live work."""

    site: str
    root: Path | None
    """The folder of the store, if it is one."""
    indexer: Indexer
    store: Store
    models: Callable[[], Mapping[str, LoadedModel]]
    policy_of: PolicyResolver
    thumbnails: Thumbnails
    arrivals: Arrivals
    health: Health
    metrics: Metrics
    budget: ByteBudget
    sessions: Sessions
    visible: Visible


class Api:
    """Answers requests. Whatever it returns depends on visible objects alone."""

    def __init__(self, parts: WebParts) -> None:
        self.parts = parts
        self._dashboard = Dashboard(
            indexer=parts.indexer,
            visible=parts.visible,
            health=parts.health,
            metrics=parts.metrics,
            models=parts.models,
        )
        self._displayed = DisplayedNames(parts.models, parts.policy_of.general.labels)
        self._dashboards: dict[str, tuple[float, DashboardAnswer]] = {}
        self._same = Serial()
        self._names: tuple[str, frozenset[str]] = "", frozenset()
        self._vocabularies = Vocabularies()
        """The labels of the default model, and which one that is."""

    # Searches

    async def search(self, _: Request, wanted: SearchParameters) -> SearchAnswer:
        """Find objects. Every word of the query narrows the result; hits are those of `imgtag search`."""
        parts = self.parts
        query = parse(wanted.q)
        limited = order_by(self._limit(query, wanted.confidence), wanted.sort)
        apart = self._facets_apart(wanted.q, wanted.facets) if wanted.alternatives else {}
        facets = tuple(field for field in wanted.facets if field not in apart)
        page = await parts.indexer.search(
            SearchRequest(query=limited, limit=wanted.limit, offset=wanted.offset, facets=facets)
        )
        counts = _trim({**page.facets, **await self._count_apart(apart, wanted.confidence)})
        notes: tuple[Note, ...] = ()
        near: tuple[str, ...] = ()
        if not page.total and query.mentions:
            unknown = await find_unknown_words(
                parts.indexer, query, self._read_label_names, within=parts.visible.condition
            )
            notes = tuple(Note(word=word, near=tuple(labels)) for word, labels in unknown.items())
            near = await self._find_near(query)
        end = wanted.offset + len(page.hits)
        return SearchAnswer(
            total=page.total,
            hits=tuple(self._to_hit(document) for document in page.hits),
            next=end if page.hits and end < page.total else None,
            facets=counts,
            **self._names_in(counts),
            query=_form_of(wanted.q),
            notes=notes,
            near=near,
        )

    async def facets(self, _: Request, wanted: FacetParameters) -> FacetAnswer:
        """Count values of fields over all hits of a query."""
        query = self._limit(parse(wanted.q), wanted.confidence)
        apart = self._facets_apart(wanted.q, wanted.fields) if wanted.alternatives else {}
        fields = tuple(field for field in wanted.fields if field not in apart)
        page = await self.parts.indexer.search(SearchRequest(query=query, limit=0, facets=fields))
        counts = _trim({**page.facets, **await self._count_apart(apart, wanted.confidence)})
        return FacetAnswer(total=page.total, facets=counts, **self._names_in(counts))

    async def suggest(self, _: Request, wanted: SuggestParameters) -> SuggestAnswer:
        """Complete a label while it is typed: with those of the index, most frequent first, then those of the model."""
        prefix = fold(wanted.prefix)
        if not prefix:
            return SuggestAnswer(suggestions=())
        parts = self.parts
        terms = await suggest_terms(parts.indexer, prefix, wanted.limit, within=parts.visible.condition)
        known = sorted(name for name in await self._read_label_names() if name.startswith(prefix))
        return SuggestAnswer(suggestions=tuple(dict.fromkeys([*terms, *known]))[: wanted.limit])

    async def similar(self, _: Request, wanted: SimilarParameters) -> SimilarAnswer:
        """Find images that look like one, the most similar first. A query narrows the result."""
        query = self.parts.visible.limit(parse(wanted.q))
        document = await self._find(wanted.id)
        try:
            hits = await self.parts.indexer.similar(
                SimilarRequest(id=document["id"], query=query, limit=min(wanted.limit, MAX_PAGE))
            )
        except Incomparable as error:
            if error.code == "absent":
                raise _absent() from None
            raise
        return SimilarAnswer(
            hits=tuple(
                SimilarHit.model_validate(
                    {**self._hit_fields(hit.document), "similarity": round(hit.similarity, SIMILARITY_DECIMALS)}
                )
                for hit in hits
            )
        )

    async def dashboard(self, _: Request, wanted: DashboardParameters) -> DashboardAnswer:
        """Show the state of the site at a glance; up to ten seconds old."""
        async with self._same.hold(wanted.q):
            at, answer = self._dashboards.get(wanted.q, (0.0, None))
            if answer is None or time.monotonic() - at > DASHBOARD_SECONDS:
                answer = await self._dashboard.summary(wanted.q)
                answer = answer.model_copy(
                    update=self._names_in({"labels": answer.labels, "category": answer.categories})
                )
                self._dashboards.pop(wanted.q, None)
                self._dashboards[wanted.q] = time.monotonic(), answer
                if len(self._dashboards) > MAX_DASHBOARDS:
                    del self._dashboards[next(iter(self._dashboards))]
            return answer

    # Objects

    async def object(self, __: Request, wanted: ObjectParameters) -> ObjectAnswer:
        """Show all that is known of one object, and where its labels come from."""
        document = await self._find(wanted.id)
        fields = public_fields(document)
        etag = fields.pop("etag", None)
        model, _, digest = str(fields.get("model", "")).partition("@")
        path = self.parts.root / document["key"] if self.parts.root and self._is_ours(document) else None
        provenance = {
            "model": model or None,
            "model_digest": digest or None,
            "rules": fields.get("rules"),
            "time": fields.get("labelled"),
            "content": await self._read_content_digest(document),
            "etag": etag,
        }
        known = {name: value for name, value in provenance.items() if value is not None}
        return ObjectAnswer.model_validate(
            {
                **fields,
                **self._hit_fields(document),
                "location": str(path) if path else document.get("location", f"s3://{_ref(document)}"),
                "provenance": Provenance(**known),
            }
        )

    async def thumbnail(self, request: Request, wanted: ThumbnailParameters) -> Response:
        """Show an object as a small, upright image; without size, at most 320 pixels wide and high.

        The format follows the Accept header: WebP, JPEG or AVIF. Nothing is enlarged, and nothing of the image's
        metadata is in it.
        """
        document = await self._find(wanted.id)
        if not self._is_ours(document):
            raise _other_site()
        order = order_of(wanted, choose_format(request.headers.get("accept", "")))
        etag = etag_of(document["id"], document["etag"], order)
        headers = {"ETag": f'"{etag}"', "Cache-Control": "private, max-age=300", "Vary": "Accept, Cookie"}
        if matches(request.headers.get("if-none-match", ""), etag):
            self.parts.metrics.web_thumbnails.labels("not_modified").inc()
            self.parts.metrics.web_bytes_saved.inc(int(document.get("size", 0)))
            return Response(status_code=304, headers=headers)
        thumbnail = await self.parts.thumbnails.get(document, order)
        if not thumbnail.is_current:
            headers |= {"ETag": f'"{thumbnail.etag}"', "Cache-Control": "no-store"}
        return Response(thumbnail.data, media_type=f"image/{order.format}", headers=headers)

    async def original(self, request: Request, wanted: OriginalParameters) -> Response:
        """Send the object itself, as it is stored, or a part of it by a Range header.

        A browser shows only images that can hold no script, and saves anything else.
        """
        document = await self._find(wanted.id)
        if not self._is_ours(document):
            raise _other_site()
        response = OriginalResponse(
            self.parts.store,
            document,
            request.headers,
            self.parts.budget,
            is_head=request.method == "HEAD",
            download=wanted.download,
        )
        try:
            await response.open()
        except BaseException:
            await response.close()
            raise
        return response

    async def label(self, request: Request, _: NoParameters) -> LabelAnswer:
        """Label an image that is sent. Nothing is stored."""
        started = time.perf_counter()
        policy = self.parts.policy_of.general
        size = _declared_size(request)
        if size is None:
            raise HttpError(411, "length", "the length of the image is required", "Send a Content-Length header.")
        if size > policy.max_bytes:
            raise HttpError(413, "too_large", f"the image has {size:,} bytes; max_bytes allows {policy.max_bytes:,}")
        async with self.parts.budget.reserve(size, "uploads"):
            try:
                with anyio.fail_after(SLOW_UPLOAD):
                    data = await _read_body(request, size)
            except TimeoutError:
                raise HttpError(408, "slow", f"the image did not arrive within {SLOW_UPLOAD:g} s") from None
            model = self.parts.models()[""]
            with model.in_use():
                raw = (await model.classify_last(data, policy.limits)).raw
        vocabulary = self._vocabularies(model.info, policy.labels)
        labels, ancestors = vocabulary.select_labels(raw, decimals=4), vocabulary.ancestors_of(raw, decimals=4)
        names = self._displayed.of_labels(model.info.id, [label.name for label in (*labels, *ancestors)])
        return LabelAnswer(
            labels=_to_confidences(labels),
            ancestors=_to_confidences(ancestors),
            **({"names": names} if names else {}),
            model=model.info.id,
            ms=round((time.perf_counter() - started) * 1000, 1),
        )

    async def arrivals(self, _: Request, __: NoParameters) -> Response:
        """Watch objects arrive, as server-sent events: `arrival` with a hit, `changed` with the id of one that is gone.

        Only what this sidecar indexes from now on. A client that is too slow is disconnected.
        """
        return EventStream(self.parts.arrivals, self._encode_event)

    # The way in

    async def session(self, request: Request, _: NoParameters) -> SessionAnswer:
        """Say whether a token is needed, and whether this client has signed in."""
        needed = self.parts.sessions.needed
        return SessionAnswer(needed=needed, ok=not needed or bool(request.state.session))

    async def open_session(self, request: Request, _: NoParameters) -> Response:
        """Exchange the token for a cookie that scripts cannot read; it holds for twelve hours."""
        size = _declared_size(request)
        if size is None or size > MAX_TOKEN_BODY:
            raise HttpError(413, "too_large", f"the body has at most {MAX_TOKEN_BODY:,} bytes, and says how many")
        try:
            body = TokenBody.model_validate_json(await _read_body(request, size))
        except ValidationError:
            raise HttpError(400, "body", "the body is not a token", 'Send {"token": "..."}.') from None
        request.state.compare_token(body.token)
        secure = urlsplit(request.headers.get("origin", "")).scheme == "https"
        cookie = write_cookie(self.parts.sessions.open(), secure=secure)
        return Response(status_code=204, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"})

    async def close_session(self, request: Request, _: NoParameters) -> Response:
        """Sign out."""
        self.parts.sessions.close(read_cookie(request.headers.get("cookie", "")))
        headers = {"Set-Cookie": write_cookie("", secure=False), "Cache-Control": "no-store"}
        return Response(status_code=204, headers=headers)

    # Parts of operations

    def _limit(self, query: Query, confidence: float) -> Query:
        """The query within what is visible, and of labelled objects within those that are sure enough."""
        limited = self.parts.visible.limit(query)
        if not confidence:
            return limited
        return limited.within(Or((Compare("top_confidence", ">=", confidence), Not(Is("status", ("labelled",))))))

    async def _find(self, id: str) -> Document:  # noqa: A002 - the field's name
        """The document of a visible object. Raises the same HttpError where it is hidden and where there is none."""
        document = (await self.parts.indexer.get([id])).get(id)
        if document is None or not self.parts.visible.shows(document):
            raise _absent()
        return document

    def _is_ours(self, document: Document) -> bool:
        """Whether the object is in our store: an index may be that of several sites."""
        return bool(document["site"] == self.parts.site)

    async def _read_label_names(self) -> frozenset[str]:
        """The folded labels of the default model."""
        info = self.parts.models()[""].info
        if self._names[0] != info.id:
            self._names = info.id, self._vocabularies(info, self.parts.policy_of.general.labels).names()
        return self._names[1]

    async def _read_indexed_labels(self) -> frozenset[str]:
        """The folded labels that visible objects have: of an open vocabulary nothing else is known."""
        query = Query("", self.parts.visible.condition or And(()))
        request = SearchRequest(query=query, limit=0, facets=("labels", "ancestors"))
        facets = (await self.parts.indexer.search(request)).facets
        return frozenset(fold(label) for values in facets.values() for label in values)

    async def _find_near(self, query: Query) -> tuple[str, ...]:
        """Labels of the model that share a word with the first words of the query, or nearly so."""
        names = await self._read_label_names() or await self._read_indexed_labels()
        near: dict[str, None] = {}
        for mention in map(fold, query.mentions[:MAX_NEAR_WORDS]):
            close = await find_close(mention, with_words(names))
            near |= dict.fromkeys(sorted(name for name in names if {*close, *mention.split()} & {name, *name.split()}))
        return tuple(near)[:MAX_NEAR]

    async def _read_content_digest(self, document: Document) -> str | None:
        """What the mark on the object says of the bytes that were labelled; None where that cannot be read soon."""
        if not self._is_ours(document):
            return None
        try:
            with anyio.fail_after(2):
                state = await self.parts.store.stat(_ref(document))
        except (ImgtagError, TimeoutError):
            return None
        mark = Mark.decode(state.metadata[MARK]) if state and MARK in state.metadata else None
        return mark.content if mark else None

    def _encode_event(self, content: Document | str) -> str | None:
        """The data of an event; None for what is not visible. Of what is gone, only the id is known."""
        visible = self.parts.visible
        if isinstance(content, str):
            return None if visible.buckets else to_data({"id": content})
        if not visible.shows(content):
            return None
        return self._to_hit(content).model_dump_json(exclude_unset=True)

    def _to_hit(self, document: Document) -> Hit:
        """A document as a search shows it."""
        return Hit.model_validate(self._hit_fields(document))

    def _hit_fields(self, document: Document) -> dict[str, Any]:
        fields = public_fields(document)
        known = {field.alias or name for name, field in Hit.model_fields.items()}
        shown = {name: value for name, value in fields.items() if name in known}
        labels = (*document.get("labels", ()), *document.get("ancestors", ()))
        names = self._displayed.of_labels(str(document.get("model", "")), labels)
        return {**shown, **({"names": names} if names else {}), "thumb": f"/api/objects/{document['id']}/thumb"}

    def _names_in(self, facets: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, str]]:
        """The field `names` of an answer with facets, if it has any."""
        names = self._displayed.of_facets(facets)
        return {"names": names} if names else {}

    def _facets_apart(self, text: str, fields: Iterable[str]) -> dict[str, str]:
        """Facets that are counted over another query: one that asks for no value of the field."""
        parts = split(text)
        chosen = {part.field for part in parts if not part.negative}
        queries = {}
        for field in fields:
            rest = " ".join(part.text for part in parts if part.negative or part.field != field)
            if field == "status":  # else the query would ask for what is labelled
                queries[field] = f"({rest}) status:*" if rest else "status:*"
            elif field in chosen:
                queries[field] = rest
        return queries

    async def _count_apart(self, queries: Mapping[str, str], confidence: float) -> dict[str, Mapping[str, int]]:
        """The facets of `_facets_apart`."""
        counts: dict[str, Mapping[str, int]] = {}
        for field, text in queries.items():
            request = SearchRequest(query=self._limit(parse(text), confidence), limit=0, facets=(field,))
            counts |= (await self.parts.indexer.search(request)).facets
        return counts


def _form_of(text: str) -> QueryForm:
    parts = split(text)
    return QueryForm(
        text=" ".join(part.text for part in parts),
        chips=tuple(
            Chip(
                text=part.text,
                negative=part.negative,
                without=" ".join(other.text for other in (*parts[:place], *parts[place + 1 :])),
                **({"field": part.field, "values": part.values} if part.field else {}),
            )
            for place, part in enumerate(parts)
        ),
    )


def _trim(facets: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """The most frequent values of each field."""
    return {field: most_frequent(counts, MAX_FACET_VALUES) for field, counts in facets.items()}


def _to_confidences(labels: Iterable[Label]) -> tuple[LabelConfidence, ...]:
    return tuple(LabelConfidence(label=label.name, confidence=label.confidence) for label in labels)


def _declared_size(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 16 else None


async def _read_body(request: Request, limit: int) -> bytes:
    """The body. Raises HttpError where it is longer than it said, or the client left."""
    data = bytearray()
    try:
        async for part in request.stream():
            data += part
            if len(data) > limit:
                raise HttpError(413, "too_large", "the body is longer than it said")
    except ClientDisconnect:
        raise HttpError(400, "body", "the client left") from None
    return bytes(data)


def _ref(document: Document) -> ObjectRef:
    return ObjectRef(document["bucket"], document["key"])


def _absent() -> HttpError:
    return HttpError(404, "absent", "there is no such object")


def _other_site() -> HttpError:
    hint = "Open the page of that site."
    return HttpError(404, "other_site", "the object is in the store of another site", hint)
