"""What every request must pass before it is looked at, and what every answer carries."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgtag.ops.http import host_name, is_local_host
from imgtag.web.errors import HttpError
from imgtag.web.limits import RateLimit
from imgtag.web.session import Sessions, read_cookie

BURST, RATE = 400, 40
"""Requests of one client: a page of thumbnails at once, and so many a second after it."""
SEARCH_COST = 4
"""Requests as which one counts that makes the index work."""
TRIES, TRY_RATE = 10, 1 / 6
"""Wrong tokens of one client: ten, then one in six seconds."""
MAX_PATH = 4096
MAX_QUERY = 16_384
"""Bytes."""

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
SEARCH_PATHS = ("/api/search", "/api/facets", "/api/similar", "/api/dashboard", "/api/label")
PUBLIC_PATHS = ("/api/session", "/api/openapi.json")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Checks host, origin, rate and token. ``hosts`` are public names that the listener may be reached under."""

    def __init__(
        self,
        app: ASGIApp,
        sessions: Sessions,
        hosts: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._hosts = {host.lower() for host in hosts}
        self._rate = RateLimit(BURST, RATE, clock)
        self._tries = RateLimit(TRIES, TRY_RATE, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with all headers that answers need."""
        if scope["type"] != "http":
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope, receive)
        try:
            await self._check(request)
        except HttpError as error:
            await error.response()(scope, receive, send_safely)
            return
        await self._app(scope, receive, send_safely)

    async def _check(self, request: Request) -> None:
        """Raise HttpError for a request that is not to be answered."""
        headers = request.headers
        if host_name(headers.get("host", "")) not in self._hosts and not await is_local_host(headers.get("host", "")):
            hint = "Name it in `hosts` under [web]."
            raise HttpError(421, "host", "this is not the name of this listener", hint)
        if len(request.url.path) > MAX_PATH or len(request.url.query) > MAX_QUERY:
            raise HttpError(414, "too_long", "the address is too long")
        self._check_origin(request.method, headers)
        session = self._sessions.find(read_cookie(headers.get("cookie", ""))) if self._sessions.needed else None
        address = request.client.host if request.client else ""
        # Clients behind one proxy have one address, but each its session.
        cost = SEARCH_COST if request.url.path.startswith(SEARCH_PATHS) else 1
        if wait := self._rate.take(session or address, cost):
            hint = f"Wait {wait} s."
            raise HttpError(429, "rate", "this client sends too many requests", hint, retry_after=wait)
        if not self._is_public(request.url.path):
            self._require_token(headers, session, address)
        request.state.session = session
        request.state.count_try = lambda: self.count_try(address)

    def count_try(self, address: str) -> None:
        """Count a wrong token. Raises HttpError where there were too many."""
        if wait := self._tries.take(address):
            hint = f"Wait {wait} s."
            raise HttpError(429, "tries", "this client has sent too many wrong tokens", hint, retry_after=wait)

    def _require_token(self, headers: Headers, session: str | None, address: str) -> None:
        if not self._sessions.needed or session:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            hint = "Send the token of [web] as `Authorization: Bearer TOKEN`, or sign in on the page."
            raise HttpError(401, "token", "a token is required", hint)
        if not self._sessions.accepts(token.strip()):
            self.count_try(address)
            raise HttpError(401, "token", "the token is wrong", "Compare it with `token` under [web].")

    @staticmethod
    def _is_public(path: str) -> bool:
        """Whether it says nothing of any object: the page itself, and how to get in."""
        return not path.startswith("/api/") or path in PUBLIC_PATHS

    def _check_origin(self, method: str, headers: Headers) -> None:
        """Refuse what another site made a browser send. Programs send neither of these headers."""
        fetched_by = headers.get("sec-fetch-site", "none")
        foreign = False
        if origin := headers.get("origin"):
            netloc = urlsplit(origin).netloc.lower()
            # A proxy may have put another name into the Host header.
            foreign = netloc != headers.get("host", "").lower() and host_name(netloc) not in self._hosts
        if method in SAFE_METHODS:
            # A link to the page may come from anywhere.
            navigates = headers.get("sec-fetch-mode") == "navigate"
            refused = fetched_by not in {"none", "same-origin"} and not navigates
        else:
            by_bearer = headers.get("authorization", "").lower().startswith("bearer ")
            refused = not by_bearer and (foreign or fetched_by not in {"none", "same-origin"})
        if refused or (foreign and method in SAFE_METHODS):
            raise HttpError(403, "origin", "requests of other sites are refused", "Open the page itself.")
