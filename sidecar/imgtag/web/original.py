"""The object itself, streamed as it is stored, in parts where these are asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from urllib.parse import quote

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from imgtag.errors import ImgtagError, Unreadable
from imgtag.flow.budget import ByteBudget
from imgtag.plugin.store import Body, RangedBody, Store
from imgtag.types.document import Document
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag.web.arrivals import cancel_on_leaving
from imgtag.web.errors import HttpError

log = logging.getLogger(__name__)

PART = 1 << 20
"""Bytes that are read and sent at a time."""
MAX_WHOLE = 64 << 20
"""Bytes of an object that a store can only read whole."""
_RANGE = re.compile(r"bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))")
_SHOWN = frozenset({"image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp"})
"""What browsers show as an image and as nothing else; anything else is only saved."""
_UNSAFE = re.compile(r'[^\w .()+,;=@!#$&\'^`{}~-]|["\\%]')


class OriginalResponse(Response):
    """An object; never anything that a browser would run."""

    def __init__(
        self,
        store: Store,
        document: Document,
        headers: Mapping[str, str],
        budget: ByteBudget,
        *,
        is_head: bool = False,
        download: bool = False,
    ) -> None:
        super().__init__()
        self._store = store
        self._ref = ObjectRef(document["bucket"], document["key"])
        self._range = headers.get("range", "")
        self._if_range = headers.get("if-range", "")
        self._if_none_match = headers.get("if-none-match", "")
        self._budget = budget
        self._is_head = is_head
        self._download = download
        self._stack = AsyncExitStack()
        self._body: Body

    async def open(self) -> None:
        """Open the object. Raises HttpError, Unreadable, Unavailable; what comes later can only end the answer."""
        body = await self._stack.enter_async_context(self._store.open(self._ref))
        if body is None:
            raise HttpError(404, "absent", "the object is no longer in the store")
        if body.state.unreadable:
            code = body.state.unreadable
            raise Unreadable(f"its bytes cannot be read ({code})", code=code)
        self._body = body

    async def close(self) -> None:
        """Close the object."""
        await self._stack.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the object."""
        state = self._body.state
        etag = f'"{state.etag.strip(chr(34))}"'
        headers = {
            "etag": etag,
            "accept-ranges": "bytes",
            "cache-control": "private, no-cache",
            "content-type": state.content_type if state.content_type in _SHOWN else "application/octet-stream",
            "content-disposition": disposition(self._ref.key, inline=self._is_shown(state)),
            "content-security-policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        }
        status, start, end = 200, 0, state.size
        if etag in {tag.strip().removeprefix("W/") for tag in self._if_none_match.split(",")}:
            status, end = 304, 0
        elif self._range and self._if_range in {"", etag}:
            status, start, end = parse_range(self._range, state.size)
            if status == 416:
                headers["content-range"] = f"bytes */{state.size}"
            elif status == 206:
                headers["content-range"] = f"bytes {start}-{end - 1}/{state.size}"
        if status != 304:
            headers["content-length"] = str(end - start)
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_on_leaving, receive, tasks.cancel_scope)
            if self._is_head or await self._send_bytes(send, start, end):
                await send({"type": "http.response.body", "body": b""})
            tasks.cancel_scope.cancel("it is sent")

    def _is_shown(self, state: ObjectState) -> bool:
        return state.content_type in _SHOWN and not self._download

    async def _send_bytes(self, send: Send, start: int, end: int) -> bool:
        """Send a part; whether it could be read to its end. Else the connection ends early, which a client notices."""
        try:
            async for part in self._read(start, end):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except ImgtagError as error:
            facts = {"bucket": self._ref.bucket, "key": self._ref.key, "reason": error.message}
            log.info("original_cut_short", extra=facts)
            return False
        return True

    async def _read(self, start: int, end: int) -> AsyncIterator[bytes]:
        if start >= end:
            return
        if isinstance(self._body, RangedBody):
            for place in range(start, end, PART):
                async with self._budget.reserve(PART, "originals"):
                    part = await self._body.read_range(place, min(PART, end - place))
                yield part
            return
        async with self._budget.reserve(min(self._body.state.size, MAX_WHOLE), "originals"):
            data = await self._body.read(MAX_WHOLE)
            for place in range(start, end, PART):
                yield data[place : min(end, place + PART)]


def parse_range(header: str, size: int) -> tuple[int, int, int]:
    """Status, first byte, and the byte after the last one. Of several ranges, and of nonsense, all is sent.

    https://httpwg.org/specs/rfc9110.html#field.range
    """
    match = _RANGE.fullmatch(header.strip())
    if not match:
        return 200, 0, size
    first, last, suffix = match.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
        return (206, start, end) if int(suffix) and size else (416, 0, 0)
    start, end = int(first), min(size, int(last) + 1) if last else size
    if last and int(last) < start:
        return 200, 0, size
    return (206, start, end) if start < size else (416, 0, 0)


def disposition(key: str, *, inline: bool) -> str:
    """How a browser treats the object, and the name that it gives to a file (https://www.rfc-editor.org/rfc/rfc6266).

    The key may hold anything: line breaks, quotes and what is not ASCII stand only in the encoded form.
    """
    name = key.rstrip("/").rpartition("/")[2][-200:] or "object"
    plain = _UNSAFE.sub("_", name.encode("ascii", "replace").decode().replace("?", "_"))
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    return f"{'inline' if inline else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
