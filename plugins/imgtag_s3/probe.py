"""Testing what a server does, in a temporary bucket: never in a user's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from threading import Lock

from imgtag.errors import WriteRefused
from imgtag_s3.client import Client
from imgtag_s3.errors import NoResponse, S3Error, map_request_error
from imgtag_s3.settings import S3StoreSettings

_KEY = "probe"
_NAMES = {"imgtag_red+fox": "0.59", "imgtag_caf%c3%a9": "0.10", "imgtag-labels": "red+fox=0.59"}
"""The kinds of names that the layout `names` uses, and the one of `single`."""

_MAX_AGE = 3600.0
"""Seconds after which a probe's bucket must be the leftover of a crash."""


class Probe:
    """Results are kept for the life of the process."""

    def __init__(self, client: Client, settings: S3StoreSettings) -> None:
        self._client = client
        self._prefix = settings.probe_prefix
        self._if_match = settings.if_match
        self._lock = Lock()
        self.leftovers: list[str] = []
        """Temporary buckets that could not be removed."""

    def honours_if_match(self) -> bool:
        """Whether a PutObject whose If-Match names another ETag is refused. Raises WriteRefused, Unavailable."""
        with self._lock:
            if self._if_match is None:
                self._if_match = self._try_if_match()
            return self._if_match

    def lost_names(self) -> tuple[str, ...]:
        """Names of user metadata that do not come back as they were sent. Raises S3Error, NoResponse."""
        with self._temporary_bucket() as bucket:
            headers = {f"x-amz-meta-{name}": value for name, value in _NAMES.items()}
            return tuple(name for name in headers if not self._survives(bucket, name, headers[name]))

    def remove_leftovers(self) -> None:
        """Remove the buckets of probes that crashed. Raises S3Error, NoResponse."""
        with self._client.minio() as minio:
            ours = [bucket for bucket in minio.list_buckets() if bucket.name.startswith(self._prefix)]
        for bucket in ours:
            if bucket.creation_date and time.time() - bucket.creation_date.timestamp() > _MAX_AGE:
                self._remove(bucket.name)

    def _try_if_match(self) -> bool:
        try:
            with self._temporary_bucket() as bucket:
                self._client.send("PUT", bucket, _KEY, body=b"old")
                return self._tells_etags_apart(bucket)
        except S3Error as error:
            if not error.denied:
                raise map_request_error(error) from error
            raise WriteRefused(
                "cannot tell whether the store honours If-Match: no bucket may be created to test it",
                code="if_match_unknown",
                hint=f"Set [store.s3] if_match, or permit s3:CreateBucket, PutObject and GetObject on {self._prefix}*.",
            ) from error

    def _tells_etags_apart(self, bucket: str) -> bool:
        """A wrong ETag must be refused and the right one accepted: some servers refuse every If-Match."""
        try:
            self._client.send("PUT", bucket, _KEY, headers={"If-Match": f'"{"0" * 32}"'}, body=b"new")
        except S3Error as error:
            if error.status != 412:
                return False
        else:
            return False
        etag = self._client.send("HEAD", bucket, _KEY).headers["etag"]
        try:
            self._client.send("PUT", bucket, _KEY, headers={"If-Match": etag}, body=b"new")
        except S3Error:
            return False
        return True

    def _survives(self, bucket: str, name: str, value: str) -> bool:
        # One at a time: the headers are signed, so a proxy that drops one makes the whole request fail.
        try:
            self._client.send("PUT", bucket, _KEY, headers={name: value}, body=b"names")
            return self._client.send("HEAD", bucket, _KEY).headers.get(name) == value
        except S3Error as error:
            if error.status < 500 and not error.denied:
                return False
            raise

    @contextmanager
    def _temporary_bucket(self) -> Iterator[str]:
        bucket = f"{self._prefix}{token_hex(5)}"
        with self._client.minio() as minio:
            minio.make_bucket(bucket)
        try:
            yield bucket
        finally:
            self._remove(bucket)

    def _remove(self, bucket: str) -> None:
        try:
            self._client.send("DELETE", bucket, _KEY)
            self._client.send("DELETE", bucket)
        except (S3Error, NoResponse):
            self.leftovers.append(bucket)
