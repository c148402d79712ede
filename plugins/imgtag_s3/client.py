"""Requests to an S3 server: signed, bounded in time, never repeated where they write.

Requests for objects go over aiohttp, all from the event loop. `minio` does what it can do completely (buckets,
listings, the list of targets), in threads. See docs/design/20261127-requests-of-a-picture.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from types import TracebackType
from typing import NamedTuple, Self, TypeVar
from urllib.parse import quote

import aiohttp
import urllib3
from anyio import CapacityLimiter, to_thread
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import InvalidResponseError, ServerError
from minio.error import S3Error as MinioS3Error
from urllib3.exceptions import HTTPError
from yarl import URL

from imgtag import __version__
from imgtag_s3 import xml
from imgtag_s3.errors import NoResponse, S3Error
from imgtag_s3.settings import MAX_TRIES, S3StoreSettings
from imgtag_s3.signing import EMPTY_PAYLOAD, UNSIGNED_PAYLOAD, Signer
from imgtag_s3.time_limits import TimeLimit, TimeLimits

_PIECE = 1 << 20
"""Bytes of a body that are handed to the socket at a time."""
_READ_BUFFER = 4 << 20
"""Bytes of a response that may arrive before somebody reads them: all of an image that a look brings."""
_MAX_DIGEST = 4 << 20
"""Bytes of a body that are digested in the event loop; a larger one would hold it up for milliseconds."""
_MAX_HEADER = 1 << 16
"""Bytes of one header of a response."""
_REPEATED = frozenset({500, 502, 503, 504})
"""Statuses after which a request that only reads is sent again."""
_PAUSE = 0.1
"""Seconds until then. What a server asks for is ignored: a MinIO that starts says 60, longer than any deadline."""
_CODES = {400: "BadRequest", 403: "AccessDenied", 404: "NotFound", 409: "OperationAborted", 412: "PreconditionFailed"}
"""Codes for responses without a body: those to HEAD."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Response:
    """A complete response; ``headers`` ignore case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class _Address(NamedTuple):
    """Where a request goes: path and parameters as they are signed, and both in the URL."""

    host: str
    path: str
    parameters: str
    url: URL


class _ConnectionLost(aiohttp.ClientError):
    """The connection broke after the request was sent, or while it was."""


class Client:
    """Entered once. Every request ends within ``settings.deadline`` seconds: in a response, S3Error or NoResponse."""

    def __init__(self, settings: S3StoreSettings) -> None:
        self._settings = settings
        self._scheme, self._host = "https" if settings.secure else "http", settings.host
        self._bucket_in_host = settings.bucket_in_host
        token = settings.session_token.get_secret_value() if settings.session_token else None
        secret = settings.secret_key.get_secret_value()
        self._signer = Signer(settings.access_key, secret, token, settings.region)
        self._limiter = CapacityLimiter(settings.connections)
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout),
            maxsize=settings.connections,
            retries=urllib3.Retry(
                total=MAX_TRIES - 1,
                backoff_factor=_PAUSE,
                status_forcelist=_REPEATED,
                allowed_methods=["GET", "HEAD"],
                raise_on_status=False,
                respect_retry_after_header=False,
                redirect=0,
                raise_on_redirect=False,
            ),
            cert_reqs="CERT_REQUIRED",
            ca_certs=str(settings.ca) if settings.ca else None,
        )
        provider = StaticProvider(settings.access_key, secret, token)
        self._minio = Minio(
            settings.host,
            credentials=provider,
            secure=settings.secure,
            region=settings.region,
            http_client=self._pool,
        )
        self._minio.set_app_info("imgtag", __version__)
        self._admin = MinioAdmin(
            endpoint=settings.host,
            credentials=provider,
            secure=settings.secure,
            region=settings.region,
            http_client=self._pool,
        )

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._limits = TimeLimits(settings.deadline, settings.read_timeout)
        self._connections = asyncio.Semaphore(settings.connections)
        tls: ssl.SSLContext | bool = True
        if settings.secure:
            tls = await to_thread.run_sync(lambda: ssl.create_default_context(cafile=settings.ca))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_timeout),
            headers={"User-Agent": f"imgtag/{__version__}", "Accept-Encoding": "identity"},
            skip_auto_headers=["Accept", "Content-Type"],
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=[_send_once],
            read_bufsize=_READ_BUFFER,
            max_line_size=_MAX_HEADER,
            max_field_size=_MAX_HEADER,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        self._pool.clear()

    async def call_minio(self, work: Callable[[Minio], T]) -> T:
        """Let `minio` do in a thread what it can do completely. Raises S3Error, NoResponse."""
        try:
            return await to_thread.run_sync(work, self._minio, limiter=self._limiter)
        except MinioS3Error as error:
            raise S3Error(error.response.status, error.code or "", error.message or "") from error
        except (ServerError, InvalidResponseError) as error:
            raise S3Error(getattr(error, "status_code", 502), "InvalidResponse", str(error)) from error
        except (HTTPError, OSError) as error:
            raise self._no_response(error) from error
        except ValueError as error:  # minio's own rules for bucket names
            raise S3Error(404, "NoSuchBucket", str(error)) from error

    async def admin_info(self) -> str:
        """What MinIO tells its administrators about itself, JSON. Raises whatever `minio` raises."""
        return await to_thread.run_sync(self._admin.info, limiter=self._limiter)

    async def send(
        self,
        method: str,
        bucket: str = "",
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        digest: bytes | None = None,
    ) -> Response:
        """Send a request and read the whole response. Raises S3Error, NoResponse.

        ``digest``: the SHA-256 of ``body`` where it is known. It is signed; a server that verifies it refuses others.
        """

        async def read(raw: aiohttp.ClientResponse) -> tuple[aiohttp.ClientResponse, bytes]:
            return raw, await raw.read()

        raw, data = await self._request(method, self._address(bucket, key, query), headers, read, body, digest)
        # A copy, and the end of a multipart upload, may fail after a status of 200 was sent.
        if raw.status >= 300 or (b"<Error>" in data[:500] and xml.parse(data).tag == "Error"):
            raise _parse_error(raw, data)
        return Response(status=raw.status, headers=raw.headers, data=data)

    async def get(
        self,
        bucket: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str],
        limit: int | None = None,
    ) -> tuple[Mapping[str, str], bytes | None]:
        """GET an object: its headers, and its bytes as they are stored. Raises S3Error, NoResponse.

        With a ``limit``, None stands for more bytes than that, or for bytes whose number the server does not say.
        Bytes that are not read cost the connection.
        """

        async def read(raw: aiohttp.ClientResponse) -> tuple[Mapping[str, str], bytes | None]:
            if raw.status >= 300:
                raise _parse_error(raw, await raw.read())
            size = int(raw.headers.get("Content-Length", "-1"))
            if limit is not None and not 0 <= size <= limit:
                return raw.headers, None
            if 0 <= size <= _READ_BUFFER:
                await raw.content.wait_eof()  # wakes once, not for each of its pieces
            return raw.headers, await raw.content.read()

        return await self._request("GET", self._address(bucket, key, query), headers, read)

    async def _request(
        self,
        method: str,
        address: _Address,
        headers: Mapping[str, str] | None,
        read: Callable[[aiohttp.ClientResponse], Awaitable[T]],
        body: bytes = b"",
        digest: bytes | None = None,
    ) -> T:
        """What ``read`` makes of the response to a signed request. Raises S3Error, NoResponse."""
        host, path, parameters, url = address
        named = {"host": host, **(headers or {})}
        if body and "Content-MD5" not in named:
            named["Content-MD5"] = b64encode(await digest_body(_md5, body)).decode()
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._settings.deadline
        payload = digest.hex() if digest else await self._hash_payload(body)
        for tries_left in reversed(range(MAX_TRIES)):
            may_repeat = method in {"GET", "HEAD"} and tries_left > 0
            signed = self._signer.sign(method, path, parameters, named, payload, datetime.now(UTC))
            try:
                async with TimeLimit(self._limits, deadline) as limit, self._connections:
                    limit.note_progress()
                    data: AsyncIterator[memoryview] | bytes | None = body or None
                    if len(body) > _PIECE:
                        signed["content-length"], data = str(len(body)), _cut(body, limit.note_progress)
                    raw = await self._session.request(method, url, headers=signed, data=data, allow_redirects=False)
                    limit.follow(raw.content)
                    async with raw:
                        if not (may_repeat and raw.status in _REPEATED):
                            may_repeat = False  # what has begun to arrive is not requested again
                            return await read(raw)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:  # it was never sent
                if not tries_left:
                    raise self._map(error) from error
            except (aiohttp.ClientError, OSError) as error:
                if not may_repeat or clock() >= deadline:
                    raise self._map(error) from error
            await asyncio.sleep(_PAUSE)
        raise AssertionError

    def _address(self, bucket: str, key: str, query: Mapping[str, str] | None) -> _Address:
        # A wildcard certificate covers one label, so a bucket with a dot in its name stays in the path.
        in_host = self._bucket_in_host and bucket and "." not in bucket
        host = f"{bucket}.{self._host}" if in_host else self._host
        path = _encode_path("" if in_host else bucket, key)
        parameters = _encode_query(query) if query else ""
        url = URL(f"{self._scheme}://{host}{path}{'?' * bool(query)}{parameters}", encoded=True)
        return _Address(host, path, parameters, url)

    async def _hash_payload(self, body: bytes) -> str:
        """What is signed of a body. Over TLS its Content-MD5 is enough; a second digest would only cost time."""
        if self._settings.secure:
            return UNSIGNED_PAYLOAD
        return (await digest_body(sha256, body)).hex() if body else EMPTY_PAYLOAD

    def _map(self, error: Exception) -> S3Error | NoResponse:
        if isinstance(error, aiohttp.ClientResponseError):  # not HTTP, or over a limit
            return S3Error(422, "InvalidResponse", error.message)
        return self._no_response(error)

    def _no_response(self, error: Exception) -> NoResponse:
        reason = str(error) or type(error).__name__
        return NoResponse(f"{self._settings.endpoint} does not respond: {reason}", hint="Is the store running?")


def copy_source(bucket: str, key: str, version: str) -> str:
    """The value of ``x-amz-copy-source``."""
    return quote(f"/{bucket}/{key}") + (f"?versionId={quote(version, safe='')}" if version else "")


@lru_cache(maxsize=1_024)  # a picture is requested three times
def _encode_path(bucket: str, key: str) -> str:
    return quote(f"/{bucket}/{key}" if bucket else f"/{key}", safe="/")


def _encode_query(query: Mapping[str, str]) -> str:
    return "&".join(sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items()))


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating PUT and DELETE: a write whose response was lost may have been done.

    https://docs.aiohttp.org/en/stable/client_advanced.html#client-middleware
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLost(str(error) or type(error).__name__) from error


async def digest_body(algorithm: Callable[[bytes], hashlib._Hash], body: bytes) -> bytes:
    """The digest of a body, made in a thread where it would hold up the event loop."""
    if len(body) <= _MAX_DIGEST:
        return algorithm(body).digest()
    return await to_thread.run_sync(lambda: algorithm(body).digest())


async def _cut(body: bytes, note_progress: Callable[[], None]) -> AsyncIterator[memoryview]:
    whole = memoryview(body)
    yield whole[:0]  # aiohttp copies the first piece behind the headers
    for start in range(0, len(body), _PIECE):
        note_progress()
        yield whole[start : start + _PIECE]
    note_progress()


def _md5(body: bytes) -> hashlib._Hash:
    return hashlib.md5(body, usedforsecurity=False)


def _parse_error(raw: aiohttp.ClientResponse, data: bytes) -> S3Error:
    server = raw.headers.get("Server", "")
    if data.lstrip().startswith(b"<"):
        root = xml.parse(data)
        return S3Error(raw.status, xml.text(root, "Code"), xml.text(root, "Message"), server)
    code = raw.headers.get("x-minio-error-code") or _CODES.get(raw.status, str(raw.status))
    return S3Error(raw.status, code, raw.headers.get("x-minio-error-desc", "").strip('"'), server)
