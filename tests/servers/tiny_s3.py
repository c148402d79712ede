"""A small S3 server in this process, for what a real one does only sometimes: races that it loses, requests it lacks.

It verifies no signatures, and shows versions that a test says there are. See `tests/stores` for real servers.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import formatdate
from functools import partial
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, quote_plus, unquote, urlsplit
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
CHECKSUM = "x-amz-checksum-"
KEPT = ("content-type", "x-amz-meta-", "x-amz-object-lock-", "x-amz-server-side-")


_md5 = partial(md5, usedforsecurity=False)


@dataclass
class TinyObject:
    """What is stored under a key."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    modified: float = field(default_factory=time.time)
    tags: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[tuple[bytes, Mapping[str, str]], ...] = ()
    """Those that it was uploaded in, each with its headers; none where it came whole."""

    @property
    def etag(self) -> str:
        """As S3 writes it."""
        if self.parts:
            return f'"{_md5(b"".join(_md5(data).digest() for data, _ in self.parts)).hexdigest()}-{len(self.parts)}"'
        return f'"{_md5(self.data).hexdigest()}"'


@dataclass(frozen=True, kw_only=True)
class TinyVersion:
    """A version, or a delete marker, as listings and a HEAD by its id show it."""

    key: str
    id: str
    etag: str = '"e"'
    modified: str = "2024-07-01T20:24:06.000Z"
    latest: bool = False
    deleted: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


class TinyS3:
    """``if_match``: whether PutObject honours it. ``gap``: seconds between that check and the write, without a lock.
    ``notifications``: whether there is an API for them; "shown": they can be read and not set.

    ``before`` is called with method, key and query of each request, and may raise ConnectionError: then no answer
    comes. ``after`` is called in the same way once an object was stored. ``sent`` lists methods and paths.
    """

    access_key = secret_key = "tiny"

    def __init__(
        self,
        *,
        if_match: bool = True,
        gap: float = 0.0,
        notifications: bool | Literal["shown"] = True,
        server: str = "TinyS3/1",
    ) -> None:
        self.if_match = if_match
        self.gap = gap
        self.notifications = notifications
        self.server = server
        self.buckets: dict[str, dict[str, TinyObject]] = {}
        self.before: Callable[[str, str, Mapping[str, str]], object] = lambda *_: None
        self.after: Callable[[str, str, Mapping[str, str]], object] = lambda *_: None
        self.configurations: dict[str, str] = {}
        """What every bucket says of ``versioning``, ``object-lock`` and ``encryption``: documents by these names."""
        self.sent: list[tuple[str, str]] = []
        self.uploads: dict[str, TinyObject] = {}
        """Uploads in parts that are neither completed nor aborted."""
        self.new_version: str | None = None
        """The id of the version that each PUT makes; `versions` is for the test to fill."""
        self.versions: list[TinyVersion] = []
        """Of every bucket, in the order of a listing: by key, the newest first. A DELETE by id takes one away."""
        self.denied: set[tuple[str, str]] = set()
        """Methods and queries that are answered by 403."""
        self.refusals: dict[tuple[str, str], tuple[int, str]] = {}
        """Methods and queries with the status and the code that answer them; "" is an object without a query."""
        self.clock: Callable[[], float] = time.time
        """What responses and objects are dated with."""
        self.keep: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda headers: headers
        """What is stored of the headers of a PUT."""
        self.chunked = False
        """Whether objects are sent in chunks, without their length."""
        self.verifies_digest = True
        """Whether a PUT is refused whose bytes do not have the SHA-256 that is signed."""
        self.lock = Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"tiny": self}))
        self._http.daemon_threads = True

    @property
    def settings(self) -> dict[str, Any]:
        """The table `[store.s3]`."""
        endpoint = f"http://127.0.0.1:{self._http.server_port}"
        return {"endpoint": endpoint, "access_key": self.access_key, "secret_key": self.secret_key}

    def put_parts(self, bucket: str, key: str, parts: Sequence[bytes], headers: Mapping[str, str]) -> None:
        """Store an object that another client uploads in parts; ``headers`` are those of each."""
        self.put(bucket, key, b"".join(parts))
        self.buckets[bucket][key].parts = tuple((part, headers) for part in parts)

    def put(self, bucket: str, key: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Store an object, as another client would."""
        kept = {"content-type": "image/jpeg", **(headers or {})}
        self.buckets.setdefault(bucket, {})[key] = TinyObject(data, kept, modified=self.clock())

    def __enter__(self) -> Self:
        Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    tiny: TinyS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits for the acknowledgement of its headers

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # the client is gone
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.tiny.clock() if timestamp is None else timestamp)

    def version_string(self) -> str:
        return self.tiny.server

    def do_HEAD(self) -> None:
        self._handle()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD  # noqa: N815 - the same

    def _handle(self) -> None:
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        bucket, _, key = unquote(url.path).removeprefix("/").partition("/")
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.tiny.before(self.command, key, query)
        self.tiny.sent.append((self.command, url.path))
        refusals = self.tiny.refusals | dict.fromkeys(self.tiny.denied, (403, "AccessDenied"))
        names = query or ([""] if key else [])
        refused = next((request for name in names if (request := (self.command, name)) in refusals), None)
        if refused:
            self._refuse(*refusals[refused])
        elif key:
            self._object(bucket, key, query, data)
        elif bucket:
            self._bucket(bucket, query)
        else:
            names = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in self.tiny.buckets)
            self._send(200, f"<ListAllMyBucketsResult><Buckets>{names}</Buckets></ListAllMyBucketsResult>")

    def _bucket(self, bucket: str, query: Mapping[str, str]) -> None:
        buckets = self.tiny.buckets
        if self.command == "PUT" and not query:
            buckets.setdefault(bucket, {})
            self._send(200)
        elif bucket not in buckets:
            self._refuse(404, "NoSuchBucket")
        elif self.command == "DELETE":
            del buckets[bucket]
            self._send(204)
        elif "notification" in query:
            if self.tiny.notifications is True or (self.tiny.notifications and self.command == "GET"):
                self._send(200, "<NotificationConfiguration/>")
            else:
                self._refuse(501, "NotImplemented")
        elif configuration := next(
            (self.tiny.configurations[name] for name in query if name in self.tiny.configurations), ""
        ):
            self._send(200, configuration)
        elif "versioning" in query:
            self._send(200, "<VersioningConfiguration/>")
        elif "versions" in query:
            self._list_versions(query)
        elif "object-lock" in query or "encryption" in query:
            self._refuse(404, "ObjectLockConfigurationNotFoundError")
        else:
            self._list_objects(bucket)

    def _list_objects(self, bucket: str) -> None:
        root = Element("ListBucketResult", xmlns=NAMESPACE)
        _add(root, Name=bucket, IsTruncated="false")
        for key, shown in sorted(self.tiny.buckets[bucket].items()):
            modified = datetime.fromtimestamp(shown.modified, UTC).isoformat(timespec="milliseconds")
            entry = _add(SubElement(root, "Contents"), Key=key, ETag=shown.etag, Size=str(len(shown.data)))
            _add(entry, LastModified=modified.replace("+00:00", "Z"))
        self._send(200, tostring(root))

    def _list_versions(self, query: Mapping[str, str]) -> None:
        versions = [version for version in self.tiny.versions if version.key.startswith(query["prefix"])]
        marker = (query.get("key-marker"), query.get("version-id-marker"))
        start = next((n + 1 for n, version in enumerate(versions) if (version.key, version.id) == marker), 0)
        end = start + int(query["max-keys"])
        page = versions[start:end]
        write = quote_plus if query.get("encoding-type") == "url" else str
        root = Element("ListVersionsResult")
        _add(root, IsTruncated=str(end < len(versions)).lower())
        if end < len(versions):
            _add(root, NextKeyMarker=write(page[-1].key), NextVersionIdMarker=page[-1].id)
        for version in page:
            kind = "DeleteMarker" if version.deleted else "Version"
            entry = _add(SubElement(root, kind), Key=write(version.key), VersionId=version.id)
            _add(entry, IsLatest=str(version.latest).lower(), LastModified=version.modified)
            if not version.deleted:
                _add(entry, ETag=version.etag)
        self._send(200, tostring(root))

    def _version(self, key: str, id: str) -> None:  # noqa: A002 - S3's name
        version = next((version for version in self.tiny.versions if (version.key, version.id) == (key, id)), None)
        if version is None:
            self._refuse(404, "NoSuchVersion")
        elif self.command == "DELETE":
            self.tiny.versions.remove(version)
            self._send(204)
        else:
            self._send(200, headers={**version.headers, "ETag": version.etag})

    def _object(self, bucket: str, key: str, query: Mapping[str, str], data: bytes) -> None:
        objects = self.tiny.buckets.get(bucket)
        if objects is None:
            self._refuse(404, "NoSuchBucket")
        elif "versionId" in query and self.command in {"HEAD", "DELETE"}:
            self._version(key, query["versionId"])
        elif "acl" in query:
            self._refuse(501, "NotImplemented")
        elif "tagging" in query:
            self._tagging(objects[key], data)
        elif "uploads" in query or "uploadId" in query:
            self._upload(objects, key, query, data)
        elif self.command == "PUT":
            self._put(objects, key, data)
        elif self.command == "DELETE":
            with self.tiny.lock:
                objects.pop(key, None)
            self._send(204)
        elif key not in objects:
            self._refuse(404, "NoSuchKey")
        else:
            self._show(objects[key], int(query.get("partNumber", "0")))

    def _upload(self, objects: dict[str, TinyObject], key: str, query: Mapping[str, str], data: bytes) -> None:
        uploads, id = self.tiny.uploads, query.get("uploadId", "")  # noqa: A001 - S3's name
        if "uploads" in query:
            id = f"upload{len(self.tiny.sent)}"  # noqa: A001
            kept = {name.lower(): value for name, value in self.headers.items() if name.lower().startswith(KEPT)}
            uploads[id] = TinyObject(b"", kept, tags=dict(parse_qsl(self.headers.get("x-amz-tagging", ""))))
            self._send(200, f"<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>")
        elif self.command == "DELETE":
            del uploads[id]
            self._send(204)
        elif self.command == "PUT":
            if "x-amz-copy-source" in self.headers:
                data = objects[key].data[self._range("x-amz-copy-source-range")]
            sums = {name.lower(): value for name, value in self.headers.items() if name.lower().startswith(CHECKSUM)}
            uploads[id].parts += ((data, sums),)
            etag = f'"{_md5(data).hexdigest()}"'
            self._send(200, f"<CopyPartResult><ETag>{etag}</ETag></CopyPartResult>", {"ETag": etag})
        else:
            done = uploads.pop(id)
            objects[key] = replace(done, data=b"".join(part for part, _ in done.parts), modified=time.time())
            self.tiny.after("POST", key, query)
            self._send(200, "<CompleteMultipartUploadResult/>")

    def _range(self, header: str) -> slice:
        start, _, last = self.headers.get(header, "bytes=0-").removeprefix("bytes=").partition("-")
        return slice(int(start), int(last) + 1 if last else None)

    def _put(self, objects: dict[str, TinyObject], key: str, data: bytes) -> None:
        kept = {name.lower(): value for name, value in self.headers.items() if name.lower().startswith(KEPT)}
        if self.tiny.new_version:
            kept["x-amz-version-id"] = self.tiny.new_version
        if self.headers.get("Content-MD5", "") not in {"", b64encode(_md5(data).digest()).decode()}:
            self._refuse(400, "BadDigest")
            return
        if self.tiny.verifies_digest and self.headers["x-amz-content-sha256"] != sha256(data).hexdigest():
            self._refuse(400, "XAmzContentSHA256Mismatch")
            return
        wanted = self.headers.get("If-Match") if self.tiny.if_match else None
        with self.tiny.lock:
            old = objects.get(key)
            if wanted and (old is None or old.etag != wanted):
                self._refuse(412, "PreconditionFailed")
                return
            tags = dict(parse_qsl(self.headers.get("x-amz-tagging", "")))
            if old and "x-amz-copy-source" in self.headers:
                data, tags = old.data, dict(old.tags)
            new = TinyObject(data, self.tiny.keep(kept), modified=self.tiny.clock(), tags=tags)
            if not self.tiny.gap:
                objects[key] = new
        if self.tiny.gap:
            time.sleep(self.tiny.gap if wanted else 0)
            objects[key] = new
        self.tiny.after("PUT", key, {})
        shown = {name: value for name, value in kept.items() if name == "x-amz-version-id"}
        self._send(200, headers={**shown, "ETag": new.etag})

    def _show(self, shown: TinyObject, part: int) -> None:
        match = self.headers.get("If-Match", shown.etag)
        if match != shown.etag:
            self._refuse(412, "PreconditionFailed")
            return
        shows = {"ETag": shown.etag, "Last-Modified": formatdate(shown.modified, usegmt=True)}
        if shown.tags:
            shows["x-amz-tagging-count"] = str(len(shown.tags))
        data = shown.data[self._range("Range")]
        if part and shown.parts:
            data, sums = shown.parts[part - 1]
            shows |= {"x-amz-mp-parts-count": str(len(shown.parts)), **sums}
        elif shown.parts:
            shows |= shown.parts[0][1]
        self._send(200, data, {**shown.headers, **shows})

    def _tagging(self, tagged: TinyObject, data: bytes) -> None:
        if self.command == "PUT":
            tagged.tags = {tag[0].text or "": tag[1].text or "" for tag in fromstring(data).iter(f"{{{NAMESPACE}}}Tag")}
            self.tiny.after("PUT", "", {"tagging": ""})
            self._send(200)
            return
        root = Element("Tagging")
        within = SubElement(root, "TagSet")
        for name, value in tagged.tags.items():
            _add(SubElement(within, "Tag"), Key=name, Value=value)
        self._send(200, tostring(root))

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, f"<Error><Code>{code}</Code><Message>no</Message></Error>")

    def _send(self, status: int, body: bytes | str = b"", headers: Mapping[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        is_chunked = self.tiny.chunked and self.command == "GET" and "ETag" in (headers or {})
        length = {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(len(data))}
        for name, value in {**(headers or {}), **length}.items():
            self.send_header(name, value)
        self.end_headers()
        if is_chunked:
            data = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
        if self.command != "HEAD" and status != 204:
            self.wfile.write(data)


def _add(parent: Element, **texts: str) -> Element:
    for name, text in texts.items():
        SubElement(parent, name).text = text
    return parent
