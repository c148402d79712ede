"""A connection that comes back: each one is a link, and when it is lost there will be another.

nats-py's own reconnecting is not used. It gives up for good when the server refuses us once (as it does while
somebody changes a password), keeps what is published meanwhile in a buffer of 2 MiB, and forgets pulls that
were under way without saying so. With one link after the other, whoever works on a link sees it end.
"""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio import to_thread
from nats.aio.client import Client, RawCredentials
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError, SecureConnWantedError, SlowConsumerError
from nkeys import NkeysError  # type: ignore[import-untyped]

from imgtag.errors import Unavailable
from imgtag_nats.settings import NatsSettings, addresses

CONNECT = 3.0
"""Seconds for one server to answer."""
ANSWER = 5.0
"""Seconds for the answer to one request."""
PING = 5
"""Seconds between pings; after two without an answer the link is lost (nats-py: 120, so four minutes)."""
FIRST, MOST = 0.2, 15.0
"""Seconds of pause before connecting again."""
REFUSED = ("authorization", "authentication")
GRANT = "Give the user of the sidecar the permissions that `imgtag policy` prints."
FORBIDDEN = "permissions violation"
SAID = 0.01
"""Seconds within which nats-py passes on what it was told."""

logger = logging.getLogger(__name__)
# Every failed attempt is told by us, once; nats-py would add a traceback to each.
BROKEN = (NatsError, OSError, TimeoutError)


@dataclass(eq=False)
class Link:
    """One connection while it lasts."""

    client: Client
    lost: anyio.Event = field(default_factory=anyio.Event)
    forbidden: str = ""
    """The last thing that the server did not let us do; it says so beside the request, which is not answered."""
    _requests: dict[anyio.CancelScope, str] = field(default_factory=dict)

    async def request(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> bytes | None:
        """What is answered; None where nobody listens there. Raises Unavailable.

        Waits no longer than there is hope: nats-py would wait on, for an answer to a connection that is gone.
        """
        with anyio.CancelScope() as scope:
            self._requests[scope] = subject.lower()
            try:
                asked = self.client.request(subject, payload, ANSWER, headers=dict(headers or {}) or None)
                answer = await asked
            except NoRespondersError:
                return None
            except BROKEN as error:
                raise self._unavailable(subject, _said(error)) from error
            else:
                self.forbidden = ""
                return answer.data
            finally:
                del self._requests[scope]
        raise self._unavailable(subject, "the connection was lost")

    def lose(self) -> None:
        """It is gone, and what was asked over it."""
        self.lost.set()
        for scope in self._requests:
            scope.cancel()

    def forbid(self, text: str) -> None:
        """The server does not let us do something, which it tells in lower case."""
        self.forbidden = text
        for scope, subject in self._requests.items():
            if f'"{subject}"' in text.lower():
                scope.cancel()

    def _unavailable(self, subject: str, reason: str) -> Unavailable:
        if self.forbidden and not self.lost.is_set():
            return Unavailable(f"NATS forbids it: {self.forbidden}", hint=GRANT)
        return Unavailable(f"no answer from NATS on {subject}: {reason}")


class _Client(Client):
    """nats-py sends the password in the clear where TLS was asked for and the server offers none."""

    def _connect_command(self) -> bytes:
        if self.options.get("tls") and not self._server_info.get("tls_required"):
            raise SecureConnWantedError
        return super()._connect_command()


class Connection:
    """Connects again for ever, once the first link was made."""

    def __init__(self, settings: NatsSettings, name: str, inbox: str) -> None:
        self._settings = settings
        self._name = name
        self._inbox = inbox
        self._link: Link | None = None
        self._up = anyio.Event()
        self._found: list[str] = []
        self.trouble = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connected, and kept so. Raises Unavailable where no server takes us."""
        await self._connect()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self._disconnect()

    async def link(self) -> Link:
        """The link that there is now, or the next one."""
        while self._link is None:
            await self._up.wait()
        return self._link

    def current(self) -> Link:
        """The link that there is now. Raises Unavailable."""
        if self._link is None:
            raise Unavailable(self.trouble or "not connected to NATS")
        return self._link

    async def request(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> bytes | None:
        """What is answered; None where nobody listens there. Raises Unavailable."""
        return await self.current().request(subject, payload, headers)

    async def forbidden(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> bool:
        """Whether the server refuses that something is published there, which it says before it answers a flush.

        Raises Unavailable.
        """
        link = self.current()
        link.forbidden = ""
        try:
            await link.client.publish(subject, payload, headers=dict(headers or {}) or None)
            await link.client.flush()
        except BROKEN as error:
            raise Unavailable(f"no answer from NATS on {subject}: {_said(error)}") from error
        await anyio.sleep(SAID)
        forbidden, link.forbidden = bool(link.forbidden), ""
        return forbidden

    async def tell(self, subject: str, payload: bytes, *, wait: bool = True) -> None:
        """Say something that need not arrive; where ``wait``, until it has, if it does soon."""
        link = self._link
        if link is None:
            return
        try:
            if wait:
                await link.request(subject, payload)
            else:
                await link.client.publish(subject, payload)
        except (Unavailable, *BROKEN) as error:
            logger.debug("An answer did not arrive", extra={"error": str(error)})

    async def _keep(self) -> None:
        attempt = 0
        while True:
            if self._link is not None:
                await self._link.lost.wait()
                await self._lose(self._link)
                attempt = 0
            await anyio.sleep(min(MOST, FIRST * 2.0 ** min(attempt, 10)) * random.uniform(0.5, 1.0))  # noqa: S311
            attempt += 1
            try:
                await self._connect()
            except Unavailable as error:
                if error.message != self.trouble:
                    logger.warning("NATS is not there", extra={"error": error.message})
                self.trouble = error.message

    async def _lose(self, link: Link) -> None:
        self._link = None
        self._up = anyio.Event()
        self._found = [each.geturl() for each in link.client.discovered_servers]
        self.trouble = f"the connection to NATS was lost{_reason(link.client.last_error)}"
        logger.warning("The connection to NATS was lost", extra={"error": self.trouble})
        await _closed(link.client)

    async def _connect(self) -> None:
        failures = []
        for url in dict.fromkeys(addresses(self._settings.url) + self._found):
            try:
                link = await self._linked(url)
            except Unavailable as error:
                failures.append(error)
                continue
            logger.info("connected to NATS", extra={"url": url})
            self._link, self.trouble = link, ""
            self._up.set()
            return
        # Of several servers that do not take us, one that says why is worth more than one that is not there.
        raise next((error for error in failures if error.hint), failures[0])

    async def _linked(self, url: str) -> Link:
        client = _Client()
        link, errors = Link(client), _Errors()
        errors.link = link
        try:
            with anyio.fail_after(2 * CONNECT):
                await client.connect(url, error_cb=errors.add, closed_cb=errors.closed, **await self._options())
        except (*BROKEN, ValueError, NkeysError) as error:
            await _closed(client)
            raise _refusal(url, errors.first or error) from error
        except BaseException:
            await _closed(client)
            raise
        return link

    async def _options(self) -> dict[str, Any]:
        settings = self._settings
        secrets = {
            "user": settings.user,
            "password": _secret(settings.password),
            "token": _secret(settings.token),
            "nkeys_seed_str": _secret(settings.nkey_seed),
            "user_credentials": RawCredentials(_secret(settings.creds)) if settings.creds else None,
        }
        tls = await to_thread.run_sync(_tls, settings) if settings.tls else None
        return {
            "name": self._name,
            "inbox_prefix": self._inbox,
            "allow_reconnect": False,
            "connect_timeout": CONNECT,
            "max_reconnect_attempts": 1,  # 0 would be for ever, already while connecting
            "reconnect_time_wait": 0,
            "ping_interval": PING,
            "tls": tls,
            "tls_handshake_first": settings.tls_first,
            **{name: value for name, value in secrets.items() if value is not None},
        }

    async def _disconnect(self) -> None:
        link, self._link = self._link, None
        self.trouble = "closed"
        if link is not None:
            with anyio.move_on_after(ANSWER):
                try:
                    await link.client.flush(2)
                except BROKEN as error:
                    logger.debug("The last answers may not have arrived", extra={"error": str(error)})
            await _closed(link.client)


class _Errors:
    """What nats-py tells beside the calls that it fails."""

    link: Link

    def __init__(self) -> None:
        self.first: Exception | None = None

    async def add(self, error: Exception) -> None:
        self.first = self.first or error
        text = str(error)
        if FORBIDDEN in text.lower():
            self.link.forbid(text.removeprefix("nats: "))
        if isinstance(error, SlowConsumerError):  # messages were dropped: a new link is followed by a resync
            self.link.lose()
        logger.debug("NATS", extra={"error": text})

    async def closed(self) -> None:
        self.link.lose()


async def _closed(client: Client) -> None:
    with anyio.move_on_after(CONNECT, shield=True):
        try:
            await client.close()
        except BROKEN as error:
            logger.debug("NATS was not left in good order", extra={"error": str(error)})


def _tls(settings: NatsSettings) -> ssl.SSLContext:
    """Blocking: it reads files. Raises OSError or ssl.SSLError (which is one)."""
    context = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_cert:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return context


def _refusal(url: str, error: BaseException) -> Unavailable:
    text = _said(error)
    if isinstance(error, SecureConnWantedError):
        hint = "Switch TLS on there, or use nats:// without tls_ca and tls_cert; nothing secret was sent."
        return Unavailable(f"{url} offers no TLS, which the settings ask for", hint=hint)
    if any(word in text.lower() for word in REFUSED):
        hint = "Check user, password, token, nkey_seed or creds under [source.nats], and the users of the server."
        return Unavailable(f"{url} does not take us: {text}", hint=hint)
    if isinstance(error, ssl.SSLError):
        hint = "Check tls_ca, tls_cert and tls_key under [source.nats]."
        return Unavailable(f"no TLS with {url}: {text}", hint=hint)
    return Unavailable(f"{url} does not answer: {text}", hint="Check url under [source.nats], and that NATS runs.")


def _reason(error: BaseException | None) -> str:
    return f": {_said(error)}" if error else ""


def _said(error: BaseException) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__


def _secret(value: Any) -> str | None:
    return value.get_secret_value().strip() if value is not None else None
