"""Requests to the server: deadlines, tries, and what its statuses mean."""

from __future__ import annotations

import json
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import anyio

from imgtag.errors import ConfigError, ImgtagError, Unavailable, Undecodable, Unreadable
from imgtag_http.settings import HttpSettings

MAX_ANSWER = 1 << 20
"""Bytes of an answer: 20,000 classes take half of that."""
MAX_TRIES = 3
"""Times that an image is sent while the server says that it is busy, before it goes back to wait."""
MAX_PAUSE = 10.0
"""Seconds that the server may ask to wait in between; longer, and the image goes back to wait."""
DEFAULT_PAUSE = 1.0
_BUSY = frozenset({429, 503})
_REFUSED = {413: Unreadable, 415: Undecodable, 422: Undecodable, 400: Undecodable}
"""What says that the image is at fault."""
_HINT_WAIT = "Images wait and are tried again until the server answers; nothing is lost."
_MAX_REASON = 200
"""Characters of an answer that an error repeats."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is sent; ``path`` is added to the URL."""

    path: str = ""
    method: str = "POST"
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Client:
    """One server. An async context manager."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if settings.token is not None:
            token = settings.token.get_secret_value()
            is_bearer = settings.token_header.lower() == "authorization"
            self._headers[settings.token_header] = f"Bearer {token}" if is_bearer else token
        self._has_answered = False
        """Whether it ever answered about an image. Before that, what looks like a bad image may be a bad setting."""
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Raises ConfigError for a CA file that cannot be read."""
        tls = await anyio.to_thread.run_sync(_make_tls, self._settings)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._settings.concurrency + 1, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout, sock_connect=self._settings.connect_timeout),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # a small body may hold a huge one
        )

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Any:
        """A JSON answer to GET. Raises Unavailable, ConfigError."""
        return await self._send(Request(path=path, method="GET"))

    async def ask(self, request: Request) -> Any:
        """A JSON answer about an image, after a pause where the server asks for one.

        Raises Unavailable, ConfigError; Unreadable, Undecodable where the server refuses the image.
        """
        for _ in range(MAX_TRIES - 1):
            try:
                return await self._ask_once(request)
            except _Busy as busy:
                if busy.pause > MAX_PAUSE:
                    raise
                await anyio.sleep(busy.pause)
        return await self._ask_once(request)

    async def _ask_once(self, request: Request) -> Any:
        try:
            answer = await self._send(request)
        except (Unreadable, Undecodable) as error:
            if self._has_answered:
                raise
            hint = f"It has not accepted any image yet, so the settings are more likely wrong. {_HINT_WAIT}"
            raise Unavailable(error.message, hint=hint, code="server_refuses") from error
        self._has_answered = True
        return answer

    async def _send(self, request: Request) -> Any:
        assert self._session is not None, "the client is open"
        url = self._settings.url + request.path
        try:
            async with self._session.request(
                request.method, url, data=request.body, headers=request.headers, allow_redirects=False
            ) as response:
                # Whatever its Content-Length says.
                body = await response.content.read(MAX_ANSWER + 1)
                while len(body) <= MAX_ANSWER and (more := await response.content.read(MAX_ANSWER + 1 - len(body))):
                    body += more
                if len(body) > MAX_ANSWER:
                    response.close()
                    message = f"{url} answers with more than {MAX_ANSWER:,} bytes"
                    raise Unavailable(message, code="invalid_answer", hint=_HINT_WAIT)
                status, pause = response.status, response.headers.get("Retry-After", "")
        except TimeoutError as error:
            message = f"{url} did not answer within {self._settings.timeout:g} s"
            raise Unavailable(message, code="timeout", hint=f"Raise `timeout`. {_HINT_WAIT}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{url} does not answer: {_describe(error)}", hint=_HINT_WAIT) from error
        if status != 200:
            raise _map_status(status, url, pause, body)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            message = f"{url} does not answer with JSON: {_excerpt(body)}"
            raise Unavailable(message, code="invalid_answer", hint="Is this the right URL?") from error


class _Busy(Unavailable):
    """The server asks to come again later."""

    default_code = "throttled"

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message, hint=f"Lower `concurrency`, or give the server more room. {_HINT_WAIT}")
        self.pause = pause


def _map_status(status: int, url: str, pause: str, body: bytes) -> ImgtagError:
    said = f"{url} answers {status}: {_excerpt(body)}"
    if status in _BUSY:
        return _Busy(said, _parse_pause(pause))
    if status in {401, 403}:
        return ConfigError(said, hint="Check `token` and `token_header` under [classifier.http].")
    if status in _REFUSED:
        return _REFUSED[status](said, code="server_refuses", hint="The server itself refuses this image.")
    if status == 404:
        return Unavailable(said, hint="Check `url`, `model` and `version`, and that the server has loaded the model.")
    return Unavailable(said, hint=_HINT_WAIT)


def _parse_pause(text: str) -> float:
    """Seconds of a Retry-After; a date is not worth the trouble, as the default pause does as well."""
    try:
        pause = float(text)
    except ValueError:
        return DEFAULT_PAUSE
    return max(0.0, pause) if math.isfinite(pause) else DEFAULT_PAUSE


def _excerpt(body: bytes) -> str:
    text = body[: 4 * _MAX_REASON].decode("utf-8", "replace")
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text[:_MAX_REASON] or "(an empty body)"


def _describe(error: Exception) -> str:
    """The reason in one line. aiohttp's own text of a refused connection repeats the address."""
    refused: OSError | None = getattr(error, "os_error", None)  # a certificate that is not accepted has none
    reason = (refused.strerror if refused else "") or str(error)
    return " ".join(reason.split()) or type(error).__name__


def _make_tls(settings: HttpSettings) -> ssl.SSLContext | bool:
    if not settings.url.startswith("https:"):
        return True
    try:
        return ssl.create_default_context(cafile=settings.ca)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"`ca` under [classifier.http]: {settings.ca}: {reason}") from error
