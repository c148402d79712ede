"""A connection that comes back: each one is a link, and when it is lost another one follows.

nats-py's own reconnecting is not used. It gives up for good when the server rejects the login once (as it does while
somebody changes a password), keeps what is published meanwhile in a buffer of 2 MiB, and drops pulls that were in
progress without reporting it. With one link after the other, the code that works on a link sees it end.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio import to_thread
from nats.aio.client import Client, RawCredentials
from nats.errors import NoRespondersError, SecureConnWantedError, SlowConsumerError
from nkeys import NkeysError  # type: ignore[import-untyped]
from pydantic import SecretStr

from imgtag.errors import ConfigError, Unavailable
from imgtag.flow.backoff import Backoff
from imgtag.plugin.task_service import TaskService
from imgtag_nats.errors import CONNECTION_ERRORS, PERMISSION_HINT, describe, map_connect_error
from imgtag_nats.settings import NatsSettings, parse_urls

CONNECT_TIMEOUT = 3.0
"""Seconds for one server to answer."""
REQUEST_TIMEOUT = 5.0
"""Seconds for the answer to one request."""
FLUSH_TIMEOUT = 2
"""Seconds for the last answers to leave when the connection is closed; nats-py takes whole ones."""
PING_INTERVAL = 5
"""Seconds between pings; after two without an answer the link is lost (nats-py: 120, so four minutes)."""
RECONNECT = Backoff(first=0.2, maximum=15.0)
PERMISSIONS_VIOLATION = "permissions violation"
ERROR_DELAY = 0.01
"""Seconds within which nats-py reports an error that the server sent before its answer to a flush."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Link:
    """One connection while it lasts."""

    client: Client
    lost: anyio.Event = field(default_factory=anyio.Event)
    violation: str = ""
    """The last thing that the server forbade. It says so beside the request, which it leaves unanswered."""
    _requests: dict[anyio.CancelScope, str] = field(default_factory=dict)

    async def request(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> bytes | None:
        """The answer; None if nobody listens on the subject. Raises Unavailable.

        It returns as soon as the link is lost: nats-py would wait on for an answer to a connection that is gone.
        """
        with anyio.CancelScope() as scope:
            self._requests[scope] = subject.lower()
            try:
                answer = await self.client.request(
                    subject, payload, REQUEST_TIMEOUT, headers=dict(headers or {}) or None
                )
            except NoRespondersError:
                return None
            except CONNECTION_ERRORS as error:
                raise self._unavailable(subject, describe(error)) from error
            else:
                self.violation = ""
                return answer.data
            finally:
                del self._requests[scope]
        raise self._unavailable(subject, "the connection was lost")

    def lose(self) -> None:
        """The connection is gone: give up the requests that wait for an answer over it."""
        self.lost.set()
        for scope in self._requests:
            scope.cancel()

    def note_violation(self, text: str) -> None:
        """The server forbade something. It names the subject in lower case, whatever was asked."""
        self.violation = text
        for scope, subject in self._requests.items():
            if f'"{subject}"' in text.lower():
                scope.cancel()

    def _unavailable(self, subject: str, reason: str) -> Unavailable:
        if self.violation and not self.lost.is_set():
            return Unavailable(f"NATS does not permit this: {self.violation}", hint=PERMISSION_HINT)
        return Unavailable(f"no answer from NATS on {subject}: {reason}")


class _Client(Client):
    """Tells when it closes, and never sends a password in the clear where TLS was asked for."""

    on_close: Callable[[], object] = staticmethod(lambda: None)

    async def _close(self, status: int, do_cbs: bool = True) -> None:  # noqa: FBT001, FBT002 - nats-py's signature
        # Not by `closed_cb`: nats-py first sends what waits. Where that fails or hangs, it never calls it, and leaves
        # its socket open. Then `Connection`, which sees the link end, comes here once more.
        if status == Client.CLOSED:
            self.on_close()
        try:
            await super()._close(status, do_cbs)
        finally:
            if status == Client.CLOSED and self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]

    def _connect_command(self) -> bytes:
        # nats-py would send it where the server does not offer TLS.
        if self.options.get("tls") and not self._server_info.get("tls_required"):
            raise SecureConnWantedError
        return super()._connect_command()


class Connection:
    """Reconnects for ever, once the first link was made."""

    def __init__(self, settings: NatsSettings, name: str, inbox: str) -> None:
        self._settings = settings
        self._name = name
        self._inbox = inbox
        self._link: Link | None = None
        self._up = anyio.Event()
        self._discovered: list[str] = []
        self.trouble = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Connect and stay connected. Raises Unavailable if no server admits us, ConfigError for unusable TLS files."""
        await self._connect()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._reconnect_forever)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    link, self._link = self._link, None
                    self.trouble = "closed"
                    if link is not None:
                        with anyio.move_on_after(REQUEST_TIMEOUT):
                            try:
                                await link.client.flush(FLUSH_TIMEOUT)
                            except CONNECTION_ERRORS as error:
                                log.debug("nats_flush_failed", extra={"reason": str(error)})
                        await _close(link.client)

    @property
    def is_up(self) -> bool:
        """Whether there is a link."""
        return self._link is not None

    async def link(self) -> Link:
        """The current link, or the next one."""
        while self._link is None:
            await self._up.wait()
        return self._link

    def current(self) -> Link:
        """The current link. Raises Unavailable."""
        if self._link is None:
            raise Unavailable(self.trouble or "not connected to NATS")
        return self._link

    async def request(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> bytes | None:
        """The answer; None if nobody listens on the subject. Raises Unavailable."""
        return await self.current().request(subject, payload, headers)

    async def is_forbidden(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> bool:
        """Whether the server forbids publishing there, which it reports before it answers a flush.

        Raises Unavailable.
        """
        link = self.current()
        link.violation = ""
        try:
            await link.client.publish(subject, payload, headers=dict(headers or {}) or None)
            await link.client.flush()
        except CONNECTION_ERRORS as error:
            raise Unavailable(f"no answer from NATS on {subject}: {describe(error)}") from error
        await anyio.sleep(ERROR_DELAY)
        forbidden, link.violation = bool(link.violation), ""
        return forbidden

    async def _reconnect_forever(self) -> None:
        attempt = 0
        while True:
            if self._link is not None:
                link = self._link
                await link.lost.wait()
                self._link, self._up = None, anyio.Event()
                self._discovered = [url.geturl() for url in link.client.discovered_servers]
                cause = link.client.last_error
                self.trouble = f"the connection to NATS was lost{f': {describe(cause)}' if cause else ''}"
                log.warning("nats_connection_lost", extra={"reason": self.trouble})
                await _close(link.client)
                attempt = 0
            attempt += 1
            await anyio.sleep(RECONNECT.delay(attempt))
            try:
                await self._connect()
            except (Unavailable, ConfigError) as error:  # a certificate may be missing while it is being replaced
                if error.message != self.trouble:
                    log.warning("nats_unavailable", extra={"reason": error.message})
                self.trouble = error.message

    async def _connect(self) -> None:
        options = await self._connect_options()
        failures = []
        for url in dict.fromkeys(parse_urls(self._settings.url) + self._discovered):
            try:
                link = await _connect_to(url, options)
            except Unavailable as error:
                failures.append(error)
                continue
            log.info("nats_connected", extra={"url": url})
            self._link, self.trouble = link, ""
            self._up.set()
            return
        # Of several servers that do not admit us, one that says why is worth more than one that is not there.
        raise next((error for error in failures if error.hint), failures[0])

    async def _connect_options(self) -> dict[str, Any]:
        settings = self._settings
        creds = _reveal(settings.creds)
        secrets = {
            "user": settings.user,
            "password": _reveal(settings.password),
            "token": _reveal(settings.token),
            "nkeys_seed_str": _reveal(settings.nkey_seed),
            # nats-py takes the carriage returns of a file from Windows for a part of the seed.
            "user_credentials": RawCredentials("\n".join(creds.splitlines())) if creds else None,
        }
        return {
            "name": self._name,
            "inbox_prefix": self._inbox,
            "allow_reconnect": False,
            "connect_timeout": CONNECT_TIMEOUT,
            "max_reconnect_attempts": 1,  # 0 would mean for ever, even for the first connection
            "reconnect_time_wait": 0,
            "ping_interval": PING_INTERVAL,
            "tls": await to_thread.run_sync(load_tls, settings) if settings.tls else None,
            "tls_handshake_first": settings.tls_first,
            **{name: value for name, value in secrets.items() if value is not None},
        }


class ConnectedService(TaskService):
    """A service that keeps a connection open while it is entered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why nothing can be received at the moment; empty while all is well."""
        return self._connection.trouble or self._trouble

    async def _open(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self._connection.open())


class _ErrorListener:
    """Receives what nats-py reports beside the calls that it fails."""

    link: Link

    def __init__(self) -> None:
        self.first: Exception | None = None

    async def receive(self, error: Exception) -> None:
        self.first = self.first or error
        text = str(error)
        if PERMISSIONS_VIOLATION in text.lower():
            self.link.note_violation(text.removeprefix("nats: "))
        if isinstance(error, SlowConsumerError):  # messages were dropped: a resync follows a new link
            self.link.lose()
        log.debug("nats_client_error", extra={"reason": text})


async def _connect_to(url: str, options: Mapping[str, Any]) -> Link:
    client = _Client()
    link, listener = Link(client), _ErrorListener()
    client.on_close, listener.link = link.lose, link
    try:
        with anyio.fail_after(2 * CONNECT_TIMEOUT):
            await client.connect(url, error_cb=listener.receive, **options)
    except (*CONNECTION_ERRORS, ValueError, NkeysError) as error:
        await _close(client)
        raise map_connect_error(url, listener.first or error) from error
    except BaseException:
        await _close(client)
        raise
    return link


async def _close(client: Client) -> None:
    with anyio.move_on_after(CONNECT_TIMEOUT, shield=True):
        try:
            await client.close()
        except CONNECTION_ERRORS as error:
            log.debug("nats_close_failed", extra={"reason": str(error)})


def load_tls(settings: NatsSettings) -> ssl.SSLContext:
    """The certificates of the settings. Blocking: it reads files. Raises ConfigError, which names the setting."""
    try:
        context = ssl.create_default_context(cafile=settings.tls_ca)
    except OSError as error:  # ssl.SSLError is one
        message = f"[source.nats] tls_ca: {settings.tls_ca}: {_describe_file_error(error)}"
        hint = "Name a PEM file with the certificates of the authority, readable by the user that the sidecar runs as."
        raise ConfigError(message, hint=hint) from error
    if settings.tls_cert:
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: "")
        except OSError as error:
            files = f"{settings.tls_cert}, {settings.tls_key}"
            message = f"[source.nats] tls_cert, tls_key: {files}: {_describe_file_error(error)}"
            hint = "Name PEM files of one certificate and its unencrypted key, readable by the sidecar's user."
            raise ConfigError(message, hint=hint) from error
    return context


def _describe_file_error(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not a PEM file").replace("_", " ").lower()
    return error.strerror or str(error)


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value().strip() if secret is not None else None
