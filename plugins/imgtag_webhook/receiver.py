"""What a push is answered with."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus

import anyio
from pydantic import SecretStr
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from imgtag.errors import EventError, ImgtagError
from imgtag.flow.token_bucket import TokenBucket
from imgtag.plugin.notifications import Content, parse
from imgtag_webhook.settings import WebhookSettings

PATH = "/"
MAX_BODY_WAIT = 10.0
"""Seconds in which the body of a request must arrive."""
MAX_DISCARDED, MAX_DISCARD_WAIT = 4 << 20, 2.0
"""Bytes, and seconds, of a refused body that are read all the same."""
RETRY_AFTER = 5
"""Seconds after which a store that was sent away should try again; MinIO does so after three in any case."""
RATE_PERIOD = 10.0
"""Seconds in which the log says once that requests were refused."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """A push is not accepted; the store keeps its event."""

    def __init__(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        self.status = status
        self.reason = reason
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(kw_only=True)
class Receiver:
    """An ASGI application. ``keep`` makes what a push says durable; ``obstacle`` says why nothing is taken now."""

    settings: WebhookSettings
    keep: Callable[[Content], Awaitable[None]]
    obstacle: Callable[[], str]
    clock: Callable[[], float] = time.monotonic
    _said_at: dict[HTTPStatus, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._bucket = TokenBucket(self.settings.rate, self.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request: 200 once what it says is durable."""
        request = Request(scope, receive)
        response: Response
        try:
            await self._accept(request, await self._read(request))
            response = JSONResponse({"ok": True})
        except Refused as refusal:
            self._log(refusal, request)
            headers = {"Connection": "close", **refusal.headers}
            response = JSONResponse({"error": refusal.reason}, status_code=refusal.status, headers=headers)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _read(self, request: Request) -> bytes:
        """The body, of a client that may push. Raises Refused."""
        chunks = request.stream()
        try:
            self._check_head(request)
            self._check_rate()
            if reason := self.obstacle():
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, reason, Retry_After=str(RETRY_AFTER))
            return await self._read_body(chunks)
        except Refused as refusal:
            if refusal.status is not HTTPStatus.REQUEST_TIMEOUT:
                await _discard(chunks)
            raise

    async def _accept(self, request: Request, body: bytes) -> None:
        """Make durable what a body says. Raises Refused."""
        self._check_signature(request, body)
        try:
            await self.keep(parse(body))
        except EventError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, error.message) from error
        except ImgtagError as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, error.message, Retry_After=str(RETRY_AFTER)) from error

    def _check_rate(self) -> None:
        if (wait := self._bucket.delay(1)) > 0:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", Retry_After=str(int(wait) + 1))
        self._bucket.take(1)

    def _check_head(self, request: Request) -> None:
        """Everything that can be said before the body is read."""
        if request.scope["path"] != PATH:  # `request.url` is made from the Host header as well
            raise Refused(HTTPStatus.NOT_FOUND, f"push to {PATH}")
        if request.method != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "push by POST", Allow="POST")
        if "origin" in request.headers:  # a browser, on behalf of some web page
            raise Refused(HTTPStatus.FORBIDDEN, "this is not for web pages")
        if self.settings.token is not None:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not _equals(token.strip(), self.settings.token):
                reason = "the bearer token is missing or wrong: compare it with `token` under [source.webhook]"
                raise Refused(HTTPStatus.UNAUTHORIZED, reason, WWW_Authenticate="Bearer")
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.settings.max_body:
            raise self._too_large()

    def _check_signature(self, request: Request, body: bytes) -> None:
        key = self.settings.hmac_key
        if key is None:
            return
        header = self.settings.hmac_header
        expected = hmac.new(key.get_secret_value().strip().encode(), body, sha256).hexdigest()
        given = request.headers.get(header, "").strip().removeprefix("sha256=").lower()
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise Refused(HTTPStatus.UNAUTHORIZED, f"{header} is missing, or is not the HMAC of the body")

    async def _read_body(self, chunks: AsyncIterator[bytes]) -> bytes:
        body = bytearray()
        try:
            with anyio.fail_after(MAX_BODY_WAIT):
                async for chunk in chunks:
                    body += chunk
                    if len(body) > self.settings.max_body:
                        raise self._too_large()
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, f"the body did not arrive in {MAX_BODY_WAIT:g} s") from None
        return bytes(body)

    def _too_large(self) -> Refused:
        limit = self.settings.max_body
        return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {limit:,} bytes (`max_body`)")

    def _log(self, refusal: Refused, request: Request) -> None:
        """Once in some seconds for each status: anybody who can reach the listener can cause it."""
        now = self.clock()
        if now >= self._said_at.get(refusal.status, now - RATE_PERIOD) + RATE_PERIOD:
            self._said_at[refusal.status] = now
            client = request.client.host if request.client else ""
            facts = {"status": int(refusal.status), "client": client, "reason": refusal.reason}
            log.warning("webhook_refused", extra=facts)


async def _discard(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left of a body, up to a limit: closing the connection on it may discard the answer."""
    size = 0
    with anyio.move_on_after(MAX_DISCARD_WAIT):
        async for chunk in chunks:
            size += len(chunk)
            if size > MAX_DISCARDED:
                return


def _equals(given: str, secret: SecretStr) -> bool:
    return hmac.compare_digest(given.encode(), secret.get_secret_value().strip().encode())
