"""Thumbnails: which one a request means, and where it comes from."""

from __future__ import annotations

import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256

from anyio import CapacityLimiter, to_thread

from imgtag.config.policy import PolicyResolver
from imgtag.errors import Conflict, ImgtagError, Undecodable, Unreadable
from imgtag.flow.budget import ByteBudget
from imgtag.flow.serial import Serial
from imgtag.ops.metrics import Metrics
from imgtag.plugin.store import Store
from imgtag.types.document import Document
from imgtag.types.ref import ObjectRef
from imgtag.types.thumbnail import ThumbnailFormat, ThumbnailOrder
from imgtag.web.errors import HttpError
from imgtag.web.parameters import DEFAULT_SIDE, ThumbnailParameters
from imgtag.web.thumbnail_cache import ThumbnailCache
from imgtag.workers.generations import LoadedModel

VERSION = 1
"""Of how thumbnails are made: another one makes all of them anew."""
MAX_FAILURES, FAILURE_SECONDS = 1000, 600.0
"""Images without a thumbnail that are remembered, and for how long: one may cost a worker."""
_QUALITY = re.compile(r"\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*")


@dataclass(frozen=True, kw_only=True)
class ServedThumbnail:
    """An encoded image with its ETag; ``is_current`` unless the object is another one than the index says."""

    data: bytes
    etag: str
    is_current: bool = True


def choose_format(accept: str) -> ThumbnailFormat:
    """The format that an Accept header prefers; of equal ones the cheapest that is small. JPEG where none is named.

    https://httpwg.org/specs/rfc9110.html#field.accept
    """
    qualities: dict[str, float] = {}
    for part in accept.lower().split(",")[:50]:
        media_type, *options = part.split(";")
        matches = [match for option in options if (match := _QUALITY.fullmatch(option))]
        qualities[media_type.strip()] = float(matches[0][1]) if matches else 1.0
    named: tuple[ThumbnailFormat, ...] = ("webp", "jpeg", "avif")
    best = max(named, key=lambda name: (qualities.get(f"image/{name}", 0.0), -named.index(name)))
    return best if qualities.get(f"image/{best}") else "jpeg"


def order_of(parameters: ThumbnailParameters, form: ThumbnailFormat) -> ThumbnailOrder:
    """The thumbnail that the parameters mean."""
    width, height = parameters.width, parameters.height
    default = DEFAULT_SIDE if width is None and height is None else 2048
    part = parameters.crop if parameters.crop not in {"", "cover"} else None
    left, upper, across, down = map(float, part.split(",")) if part else (0.0, 0.0, 1.0, 1.0)
    cover = parameters.crop == "cover"
    if cover and (width is None) != (height is None):
        width = height = width or height
    return ThumbnailOrder(
        width=width or default,
        height=height or default,
        format=form,
        crop=(left, upper, across, down) if part else None,
        cover=cover,
        rotate=parameters.rotate,
    )


def etag_of(document_id: str, etag: str, order: ThumbnailOrder) -> str:
    """A strong ETag: of the object, and of everything that shapes its thumbnail."""
    text = json.dumps([VERSION, document_id, etag, asdict(order)], sort_keys=True)
    return sha256(text.encode()).hexdigest()


class Thumbnails:
    """Makes thumbnails in the workers that classify, once nothing waits to be classified; keeps them on disk."""

    def __init__(
        self,
        store: Store,
        models: Callable[[], Mapping[str, LoadedModel]],
        policy_of: PolicyResolver,
        cache: ThumbnailCache,
        metrics: Metrics,
        budget: ByteBudget,
    ) -> None:
        self._store = store
        self._models = models
        self._policy_of = policy_of
        self._cache = cache
        self._metrics = metrics
        self._budget = budget
        self._disk = CapacityLimiter(1)
        self._same = Serial()
        self._failures: OrderedDict[str, tuple[float, ImgtagError]] = OrderedDict()

    async def get(self, document: Document, order: ThumbnailOrder) -> ServedThumbnail:
        """The thumbnail of a document's object. Raises HttpError, Unreadable, Undecodable, Unavailable."""
        key = etag_of(document["id"], document["etag"], order)
        async with self._same.hold(key):  # whoever asks for the same at the same time waits for one that is made
            data = await to_thread.run_sync(self._cache.read, key, limiter=self._disk)
            if data is not None:
                self._count("cache", document, data)
                return ServedThumbnail(data=data, etag=key)
            self._raise_known_failure(document)
            try:
                data, etag = await self._make(document, order)
            except (Unreadable, Undecodable) as error:
                self._metrics.web_thumbnails.labels("failed").inc()
                self._remember_failure(document, error)
                raise
            self._count("made", document, data)
            if etag != document["etag"]:
                return ServedThumbnail(data=data, etag=etag_of(document["id"], etag, order), is_current=False)
            await to_thread.run_sync(self._cache.write, key, data, limiter=self._disk)
            self._metrics.web_thumbnail_cache_bytes.set(self._cache.size)
            return ServedThumbnail(data=data, etag=key)

    async def _make(self, document: Document, order: ThumbnailOrder) -> tuple[bytes, str]:
        """The thumbnail, and the ETag of the object that it was made of."""
        ref = ObjectRef(document["bucket"], document["key"])
        policy = self._policy_of(ref)
        if policy is None:
            hint = "Name its bucket in [[rules]], or open the page of the sidecar that labels it."
            raise HttpError(404, "not_mine", "no rule of this sidecar admits the object", hint)
        size = min(int(document.get("size", 0)), policy.max_bytes)
        model = self._models().get(policy.model) or self._models()[""]
        async with self._budget.reserve(size, "thumbnails"), self._store.open(ref) as body:
            if body is None:
                raise HttpError(404, "absent", "the object is no longer in the store")
            state = body.state
            if state.unreadable:
                raise Unreadable(f"its bytes cannot be read ({state.unreadable})", code=state.unreadable)
            if state.size > size:
                if state.size <= policy.max_bytes:
                    raise Conflict("the object has grown since it was indexed", hint="Ask again in a moment.")
                raise Unreadable(f"{state.size:,} bytes are over the limit of {policy.max_bytes:,}", code="too_large")
            data = await body.read(size)
            with model.in_use():
                thumbnail = await model.reduce(data, order, policy.limits)
            return thumbnail.data, state.etag

    def _count(self, source: str, document: Document, data: bytes) -> None:
        self._metrics.web_thumbnails.labels(source).inc()
        self._metrics.web_bytes_saved.inc(max(0, int(document.get("size", 0)) - len(data)))

    def _remember_failure(self, document: Document, error: ImgtagError) -> None:
        self._failures[f"{document['id']} {document['etag']}"] = time.monotonic(), error
        if len(self._failures) > MAX_FAILURES:
            self._failures.popitem(last=False)

    def _raise_known_failure(self, document: Document) -> None:
        """Raise what was wrong with the object a while ago, whatever part of it is wanted now."""
        at, error = self._failures.get(f"{document['id']} {document['etag']}", (0.0, None))
        if error is not None and time.monotonic() - at < FAILURE_SECONDS:
            raise type(error)(error.message, hint=error.hint, code=error.code)


def matches(header: str, etag: str) -> bool:
    """Whether an If-None-Match header names the ETag."""
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or f'"{etag}"' in tags
