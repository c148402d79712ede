"""What every request must pass before it is looked at, and what every answer carries."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imgtag.ops.http import host_name, is_local_host
from imgtag.web.errors import HttpError
from imgtag.web.limits import RateLimit
from imgtag.web.session import Sessions, read_cookie

IPNetwork: TypeAlias = IPv4Network | IPv6Network

BURST, RATE = 400, 40
"""Requests of one client: a page of thumbnails at once, and so many a second after it."""
SEARCH_COST = 4
"""Requests as which one counts that makes the index work."""
TRIES, TRY_RATE = 10, 1 / 6
"""Wrong tokens of one address: ten, then one in six seconds."""
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
    """Checks host, origin, rate and token. ``hosts`` are public names that the listener may be reached under,
    ``proxies`` those whose X-Forwarded-For is believed.
    """

    def __init__(
        self,
        app: ASGIApp,
        sessions: Sessions,
        hosts: Collection[str] = (),
        proxies: Collection[IPNetwork] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._hosts = {host.lower() for host in hosts}
        self._proxies = proxies
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
        # What routes it: `request.url` is made from the Host header as well, which a client may write as it likes.
        headers, path = request.headers, request.scope["path"]
        if host_name(headers.get("host", "")) not in self._hosts and not await is_local_host(headers.get("host", "")):
            hint = "Name it in `hosts` under [web]."
            raise HttpError(421, "host", "this is not the name of this listener", hint)
        if len(path) > MAX_PATH or len(request.scope["query_string"]) > MAX_QUERY:
            raise HttpError(414, "too_long", "the address is too long")
        self._check_origin(request.method, headers)
        session = self._sessions.find(read_cookie(headers.get("cookie", ""))) if self._sessions.needed else None
        address = self._client_address(request)
        client = session or address
        if self._sessions.needed and not session and not self._is_public(path):
            self._require_token(headers, address)
            client = f"token {address}"
        # Requests without a token are counted apart: behind one proxy all clients may have one address.
        self._take(client, SEARCH_COST if path.startswith(SEARCH_PATHS) else 1)
        request.state.session = session
        request.state.compare_token = lambda token: self.compare_token(token, address)

    def compare_token(self, token: str, address: str) -> None:
        """Raise HttpError for a wrong token, and for any token where there were too many wrong ones."""
        if wait := self._tries.wait(address):
            hint = f"Wait {wait} s."
            raise HttpError(429, "tries", "this client has sent too many wrong tokens", hint, retry_after=wait)
        if not self._sessions.accepts(token):
            self._tries.take(address)
            raise HttpError(401, "token", "the token is wrong", "Compare it with `token` under [web].")

    def _require_token(self, headers: Headers, address: str) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            self._take(f"stranger {address}", 1)
            hint = "Send the token of [web] as `Authorization: Bearer TOKEN`, or sign in on the page."
            raise HttpError(401, "token", "a token is required", hint)
        self.compare_token(token.strip(), address)

    def _take(self, client: str, cost: int) -> None:
        if wait := self._rate.take(client, cost):
            hint = f"Wait {wait} s."
            raise HttpError(429, "rate", "this client sends too many requests", hint, retry_after=wait)

    def _client_address(self, request: Request) -> str:
        """Who sent it: the last address in X-Forwarded-For that is not a proxy of ours, if a proxy of ours sent it."""
        address = request.client.host if request.client else ""
        forwarded = [part for line in request.headers.getlist("x-forwarded-for") for part in line.split(",")]
        while forwarded and self._is_proxy(address):
            address = forwarded.pop().strip()
        return address

    def _is_proxy(self, address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in self._proxies)
        except ValueError:
            return False

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
