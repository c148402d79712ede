"""Requests to an S3 server: signed, bounded in time, never repeated where they write.

`minio` does what it can do completely (buckets, listings, the list of targets). Its methods cannot send If-Match or
Expires, so requests for objects are sent from here over the same pool, signed by `minio.signer`: see
docs/design/20261121-s3-requests.md.
"""

from __future__ import annotations

import logging
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import md5, sha256
from urllib.parse import SplitResult, quote, urlunsplit

import urllib3
from minio import Minio, MinioAdmin
from minio.credentials.credentials import Credentials
from minio.credentials.providers import StaticProvider
from minio.error import InvalidResponseError, ServerError
from minio.error import S3Error as MinioS3Error
from minio.signer import sign_v4_s3
from urllib3.exceptions import HTTPError

from imgtag import __version__
from imgtag_s3 import xml
from imgtag_s3.errors import NoResponse, S3Error
from imgtag_s3.settings import MAX_TRIES, S3StoreSettings

_CHUNK = 1 << 18
"""Bytes between two checks of the deadline."""
_CODES = {400: "BadRequest", 403: "AccessDenied", 404: "NotFound", 409: "OperationAborted", 412: "PreconditionFailed"}
"""Codes for responses without a body: those to HEAD."""


def _is_about_our_headers(record: logging.LogRecord) -> bool:
    """Whether urllib3 warns of headers that were lost, and not of a Content-Type that lets it expect a body in parts.

    http.client reads headers with the parser of e-mails, which misses the parts of a `multipart/form-data` that it
    never sees. The traceback says nothing more in either case.
    """
    if str(record.msg).startswith("Failed to parse headers") and record.exc_info:
        text = str(record.exc_info[1])
        record.exc_info = None
        return not text.endswith(("unparsed data: ''", "unparsed data: None"))
    return True


logging.getLogger("urllib3.connection").addFilter(_is_about_our_headers)


@dataclass(frozen=True, kw_only=True)
class Response:
    """A complete response; ``headers`` ignore case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Client:
    """Thread-safe. Every request ends within ``settings.deadline`` seconds: in a response, S3Error or NoResponse."""

    def __init__(self, settings: S3StoreSettings) -> None:
        self._settings = settings
        token = settings.session_token
        secret = settings.secret_key.get_secret_value()
        self._credentials = Credentials(settings.access_key, secret, token.get_secret_value() if token else None)
        self._pool = _connection_pool(settings)
        provider = StaticProvider(settings.access_key, secret, self._credentials.session_token)
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

    @contextmanager
    def minio(self) -> Iterator[Minio]:
        """`minio`, for what it can do completely; its errors are raised as S3Error and NoResponse."""
        try:
            yield self._minio
        except MinioS3Error as error:
            raise S3Error(error.response.status, error.code or "", error.message or "") from error
        except (ServerError, InvalidResponseError) as error:
            raise S3Error(getattr(error, "status_code", 502), "InvalidResponse", str(error)) from error
        except (HTTPError, OSError) as error:
            raise self._no_response(error) from error
        except ValueError as error:  # minio's own rules for bucket names
            raise S3Error(404, "NoSuchBucket", str(error)) from error

    def admin_info(self) -> str:
        """What MinIO tells its administrators about itself, JSON. Raises whatever `minio` raises."""
        return self._admin.info()

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def send(
        self,
        method: str,
        bucket: str = "",
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """Send a request and read the whole response. Raises S3Error, NoResponse."""
        end = time.monotonic() + self._settings.deadline
        try:
            raw = self._request(method, self._url(bucket, key, query or {}), dict(headers or {}), body, end)
            data = b"".join(_bound_time(raw.stream(_CHUNK, decode_content=False), end))
            raw.release_conn()
            response = Response(status=raw.status, headers=raw.headers, data=data)
            # A copy, and the end of a multipart upload, may fail after a status of 200 was sent.
            if response.status >= 300 or (b"<Error>" in data[:500] and xml.parse(data).tag == "Error"):
                raise _parse_error(response)
        except (HTTPError, OSError) as error:
            raise self._no_response(error) from error
        return response

    @contextmanager
    def stream(
        self, bucket: str, key: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """GET an object: its headers, and its bytes as they are stored. Raises S3Error, NoResponse.

        MinIO holds the key's lock until the bytes are read, so read them at once.
        """
        end = time.monotonic() + self._settings.deadline
        try:
            raw = self._request("GET", self._url(bucket, key, query), dict(headers), b"", end)
            try:
                chunks = _bound_time(raw.stream(_CHUNK, decode_content=False), end)
                if raw.status >= 300:
                    raise _parse_error(Response(status=raw.status, headers=raw.headers, data=b"".join(chunks)))
                yield raw.headers, chunks
            finally:
                raw.close()  # returns to the pool where all was read, else cuts the connection: never waits
        except (HTTPError, OSError) as error:
            raise self._no_response(error) from error

    def _no_response(self, error: Exception) -> NoResponse:
        return NoResponse(f"{self._settings.endpoint} does not respond: {error}", hint="Is the store running?")

    def _request(
        self, method: str, url: SplitResult, headers: dict[str, str], body: bytes, end: float
    ) -> urllib3.BaseHTTPResponse:
        """Sign a request and send it; the response's body is still to be read."""
        headers |= {"Host": url.netloc, "User-Agent": f"imgtag/{__version__}", "Accept-Encoding": "identity"}
        if body or method in {"PUT", "POST"}:
            headers["Content-Length"] = str(len(body))
            headers["Content-MD5"] = b64encode(md5(body, usedforsecurity=False).digest()).decode()
        # Over TLS the Content-MD5 is enough; a second digest of the body would only cost time.
        digest = "UNSIGNED-PAYLOAD" if self._settings.secure else sha256(body).hexdigest()
        now = datetime.now(UTC)
        headers |= {"x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"), "x-amz-content-sha256": digest}
        if self._credentials.session_token:
            headers["x-amz-security-token"] = self._credentials.session_token
        sign_v4_s3(  # adds the signature to the headers
            method=method,
            url=url,
            region=self._settings.region,
            headers=headers,  # type: ignore[arg-type]
            credentials=self._credentials,
            content_sha256=digest,
            date=now,
        )
        # http.client sends text as Latin-1, but the signature covers its UTF-8.
        wire = {name: value.encode().decode("latin-1") for name, value in headers.items()}
        pieces = (body[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))
        return self._pool.urlopen(
            method,
            urlunsplit(url),
            headers=wire,
            body=_bound_time(pieces, end) if body else None,
            preload_content=False,
            decode_content=False,
            redirect=False,
        )

    def _url(self, bucket: str, key: str, query: Mapping[str, str]) -> SplitResult:
        scheme = "https" if self._settings.secure else "http"
        # A wildcard certificate covers one label, so a bucket with a dot in its name stays in the path.
        in_host = self._settings.bucket_in_host and bucket and "." not in bucket
        host = f"{bucket}.{self._settings.host}" if in_host else self._settings.host
        path = "/".join(["" if in_host or not bucket else f"/{bucket}", key])
        pairs = sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
        return SplitResult(scheme, host, quote(path or "/", safe="/"), "&".join(pairs), "")


def copy_source(bucket: str, key: str, version: str) -> str:
    """The value of ``x-amz-copy-source``."""
    return quote(f"/{bucket}/{key}") + (f"?versionId={quote(version, safe='')}" if version else "")


def _connection_pool(settings: S3StoreSettings) -> urllib3.PoolManager:
    # A write is never repeated automatically: after a lost response somebody has to look first.
    retries = urllib3.Retry(
        total=MAX_TRIES - 1,
        backoff_factor=0.1,
        status_forcelist=[500, 502, 503, 504],
        allowed_methods=["GET", "HEAD"],
        raise_on_status=False,
        respect_retry_after_header=False,  # a starting MinIO says 60 seconds: longer than any deadline
        redirect=0,
        raise_on_redirect=False,
    )
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=settings.connect_timeout, read=settings.read_timeout),
        maxsize=settings.connections + 2,
        retries=retries,
        cert_reqs="CERT_REQUIRED",
        ca_certs=str(settings.ca) if settings.ca else None,
    )


def _bound_time(chunks: Iterable[bytes], end: float) -> Iterator[bytes]:
    """Pass the chunks on until ``end``, monotonic seconds: urllib3's own limits bound each wait, not their sum."""
    for chunk in chunks:
        if time.monotonic() > end:
            raise TimeoutError("it took longer than the deadline")
        yield chunk


def _parse_error(response: Response) -> S3Error:
    server = response.headers.get("Server", "")
    if response.data.lstrip().startswith(b"<"):
        root = xml.parse(response.data)
        return S3Error(response.status, xml.text(root, "Code"), xml.text(root, "Message"), server)
    code = response.headers.get("x-minio-error-code") or _CODES.get(response.status, str(response.status))
    return S3Error(response.status, code, response.headers.get("x-minio-error-desc", "").strip('"'), server)
