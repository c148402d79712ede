"""Requests to an S3 server: signed, bounded in time, never sent twice where they write.

`minio` does what it can do whole (buckets, listings, the list of targets). Its methods cannot send If-Match or Expires,
so what touches objects is sent from here over the same pool, signed by `minio.signer`: see
docs/design/20261121-s3-requests.md.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import md5, sha256
from urllib.parse import SplitResult, quote, urlunsplit

import urllib3
from minio import Minio, MinioAdmin
from minio.credentials.credentials import Credentials
from minio.credentials.providers import StaticProvider
from minio.error import InvalidResponseError, S3Error, ServerError
from minio.signer import sign_v4_s3
from urllib3.exceptions import HTTPError

from imgtag import __version__
from imgtag_s3 import xml
from imgtag_s3.errors import Fault, NoAnswer
from imgtag_s3.settings import TRIES, S3StoreSettings

_CHUNK = 1 << 18
"""Bytes between two looks at the clock."""
_CODES = {400: "BadRequest", 403: "AccessDenied", 404: "NotFound", 409: "OperationAborted", 412: "PreconditionFailed"}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A whole answer; ``headers`` are found in any case of letters."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class Client:
    """Safe in threads. A request ends within ``settings.deadline`` seconds, as an answer, Fault or NoAnswer."""

    def __init__(self, settings: S3StoreSettings) -> None:
        self._settings = settings
        token = settings.session_token
        secret = settings.secret_key.get_secret_value()
        self._credentials = Credentials(settings.access_key, secret, token.get_secret_value() if token else None)
        self._pool = _pool(settings)
        self._buckets = Minio(
            settings.host,
            credentials=self._provider(),
            secure=settings.secure,
            region=settings.region,
            http_client=self._pool,
        )
        self._buckets.set_app_info("imgtag", __version__)

    def _provider(self) -> StaticProvider:
        key = self._credentials
        return StaticProvider(key.access_key, key.secret_key, key.session_token)

    @contextmanager
    def buckets(self) -> Iterator[Minio]:
        """`minio` for what it can do whole; its errors come as Fault and NoAnswer."""
        try:
            yield self._buckets
        except S3Error as error:
            raise Fault(error.response.status, error.code or "", error.message or "") from error
        except (ServerError, InvalidResponseError) as error:
            raise Fault(getattr(error, "status_code", 502), "InvalidResponse", str(error)) from error
        except (HTTPError, OSError) as error:
            raise self._unanswered(error) from error
        except ValueError as error:  # its own rules for names of buckets
            raise Fault(404, "NoSuchBucket", str(error)) from error

    def admin_info(self) -> str:
        """What a MinIO tells its administrators about itself, JSON. Raises whatever `minio` raises."""
        settings = self._settings
        admin = MinioAdmin(
            endpoint=settings.host,
            credentials=self._provider(),
            region=settings.region,
            secure=settings.secure,
            http_client=self._pool,
        )
        return admin.info()

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
    ) -> Answer:
        """Send a request and read the answer. Raises Fault, NoAnswer."""
        end = time.monotonic() + self._settings.deadline
        try:
            response = self._open(method, self._url(bucket, key, query or {}), dict(headers or {}), body, end)
            data = b"".join(_bounded(response, end))
            response.release_conn()
            answer = Answer(status=response.status, headers=response.headers, data=data)
            if response.status >= 300 or _is_error(data):
                raise _fault(answer)
        except (HTTPError, OSError) as error:
            raise self._unanswered(error) from error
        return answer

    @contextmanager
    def stream(
        self, bucket: str, key: str, *, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """GET an object: its headers, and its bytes as they are stored. Raises Fault, NoAnswer.

        A MinIO holds the key's lock until the bytes are read, so they are to be read at once.
        """
        end = time.monotonic() + self._settings.deadline
        try:
            response = self._open("GET", self._url(bucket, key, query), dict(headers), b"", end)
            try:
                if response.status >= 300:
                    data = b"".join(_bounded(response, end))
                    raise _fault(Answer(status=response.status, headers=response.headers, data=data))
                yield response.headers, _bounded(response, end)
            finally:
                response.close()  # goes back to the pool where all was read, else is cut: nothing is waited for
        except (HTTPError, OSError) as error:
            raise self._unanswered(error) from error

    def _unanswered(self, error: Exception) -> NoAnswer:
        return NoAnswer(f"{self._settings.endpoint} does not answer: {error}", hint="Is the store running?")

    def _open(
        self, method: str, url: SplitResult, headers: dict[str, str], body: bytes, end: float
    ) -> urllib3.BaseHTTPResponse:
        headers |= {"Host": url.netloc, "User-Agent": f"imgtag/{__version__}", "Accept-Encoding": "identity"}
        if body or method in {"PUT", "POST"}:
            headers["Content-Length"] = str(len(body))
            headers["Content-MD5"] = b64encode(md5(body, usedforsecurity=False).digest()).decode()
        signed = self._signed(method, url, headers, body)
        # http.client sends text as Latin-1; what was signed is its UTF-8.
        wire = {name: value.encode().decode("latin-1") for name, value in signed.items()}
        return self._pool.urlopen(
            method,
            urlunsplit(url),
            headers=wire,
            body=_chunks(body, end) if body else None,
            preload_content=False,
            decode_content=False,
            redirect=False,
        )

    def _signed(self, method: str, url: SplitResult, headers: dict[str, str], body: bytes) -> dict[str, str]:
        # Over TLS the Content-MD5 is enough, and a second digest of the body is saved.
        digest = "UNSIGNED-PAYLOAD" if self._settings.secure else sha256(body).hexdigest()
        now = datetime.now(UTC)
        headers |= {"x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"), "x-amz-content-sha256": digest}
        if self._credentials.session_token:
            headers["x-amz-security-token"] = self._credentials.session_token
        sign_v4_s3(
            method=method,
            url=url,
            region=self._settings.region,
            headers=headers,  # type: ignore[arg-type]
            credentials=self._credentials,
            content_sha256=digest,
            date=now,
        )
        return headers

    def _url(self, bucket: str, key: str, query: Mapping[str, str]) -> SplitResult:
        scheme = "https" if self._settings.secure else "http"
        inside = self._settings.bucket_in_host and bucket and "." not in bucket
        host = f"{bucket}.{self._settings.host}" if inside else self._settings.host
        path = "/".join(["" if inside or not bucket else f"/{bucket}", key])
        pairs = sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query.items())
        return SplitResult(scheme, host, quote(path or "/", safe="/"), "&".join(pairs), "")


def source(bucket: str, key: str, version: str) -> str:
    """The value of ``x-amz-copy-source``."""
    return quote(f"/{bucket}/{key}") + (f"?versionId={quote(version, safe='')}" if version else "")


def _pool(settings: S3StoreSettings) -> urllib3.PoolManager:
    # A write is never sent again by itself: after a lost answer somebody has to look first.
    retries = urllib3.Retry(
        total=TRIES - 1,
        backoff_factor=0.1,
        status_forcelist=[500, 502, 503, 504],
        allowed_methods=["GET", "HEAD"],
        raise_on_status=False,
        respect_retry_after_header=False,  # a MinIO that starts says 60 seconds: longer than any deadline
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


def _chunks(body: bytes, end: float) -> Iterator[bytes]:
    for start in range(0, len(body), _CHUNK):
        _in_time(end)
        yield body[start : start + _CHUNK]


def _bounded(response: urllib3.BaseHTTPResponse, end: float) -> Iterator[bytes]:
    for chunk in response.stream(_CHUNK, decode_content=False):
        _in_time(end)
        yield chunk


def _in_time(end: float) -> None:
    if time.monotonic() > end:
        raise TimeoutError("it took longer than the deadline")


def _is_error(data: bytes) -> bool:
    """A copy, and the end of a multipart upload, may fail behind a status of 200."""
    return b"<Error>" in data[:500] and xml.parse(data).tag == "Error"


def _fault(answer: Answer) -> Fault:
    server = answer.headers.get("Server", "")
    if answer.data.lstrip().startswith(b"<"):
        root = xml.parse(answer.data)
        return Fault(answer.status, xml.text(root, "Code"), xml.text(root, "Message"), server)
    code = answer.headers.get("x-minio-error-code") or _CODES.get(answer.status, str(answer.status))
    return Fault(answer.status, code, answer.headers.get("x-minio-error-desc", "").strip('"'), server)
