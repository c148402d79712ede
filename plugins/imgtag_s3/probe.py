"""Trying what a server does, in a bucket made for it: never in a user's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from threading import Lock

from imgtag.errors import WriteRefused
from imgtag_s3.client import Client
from imgtag_s3.errors import Fault, NoAnswer, while_asking
from imgtag_s3.settings import S3StoreSettings

KEY = "probe"
NAMES = {"imgtag_red+fox": "0.59", "imgtag_caf%c3%a9": "0.10", "imgtag-labels": "red+fox=0.59"}
"""The kinds of names that the layout `names` makes, and the one of `single`."""

_STALE = 3600.0
"""Seconds after which a probe's bucket was left behind by a crash."""


class Probe:
    """Answers are kept as long as the process lives."""

    def __init__(self, client: Client, settings: S3StoreSettings) -> None:
        self._client = client
        self._prefix = settings.probe_prefix
        self._if_match = settings.if_match
        self._one = Lock()
        self.left: list[str] = []
        """Buckets of ours that could not be removed."""

    def honours_if_match(self) -> bool:
        """Whether a PutObject with another object's ETag in If-Match is refused. Raises WriteRefused, Unavailable."""
        with self._one:
            if self._if_match is None:
                self._if_match = self._tried()
            return self._if_match

    def lost_names(self) -> tuple[str, ...]:
        """Names of user metadata that did not come back as they were sent. Raises Fault, NoAnswer."""
        with self._bucket() as bucket:
            headers = {f"x-amz-meta-{name}": value for name, value in NAMES.items()}
            return tuple(name for name in headers if not self._survives(bucket, name, headers[name]))

    def sweep(self) -> None:
        """Remove what probes that crashed have left. Raises Fault, NoAnswer."""
        with self._client.buckets() as minio:
            left = [each for each in minio.list_buckets() if each.name.startswith(self._prefix)]
        for each in left:
            if each.creation_date and time.time() - each.creation_date.timestamp() > _STALE:
                self._remove(each.name)

    def _tried(self) -> bool:
        try:
            with self._bucket() as bucket:
                self._client.send("PUT", bucket, KEY, body=b"old")
                return self._refuses(bucket)
        except Fault as fault:
            if not fault.denied:
                raise while_asking(fault) from fault
            raise WriteRefused(
                "whether the store honours If-Match is not known, and no bucket may be made to try it",
                code="if_match_unknown",
                hint=f"Set [store.s3] if_match, or permit s3:CreateBucket, PutObject and GetObject on {self._prefix}*.",
            ) from fault

    def _refuses(self, bucket: str) -> bool:
        """A wrong ETag must be refused and the right one taken: some refuse whatever has the header."""
        try:
            self._client.send("PUT", bucket, KEY, headers={"If-Match": f'"{"0" * 32}"'}, body=b"new")
        except Fault as fault:
            if fault.status != 412:
                return False
        else:
            return False
        etag = self._client.send("HEAD", bucket, KEY).headers["etag"]
        try:
            self._client.send("PUT", bucket, KEY, headers={"If-Match": etag}, body=b"new")
        except Fault:
            return False
        return True

    def _survives(self, bucket: str, name: str, value: str) -> bool:
        # One at a time: a proxy that drops one makes the whole request fail, for it was signed.
        try:
            self._client.send("PUT", bucket, KEY, headers={name: value}, body=b"names")
            return self._client.send("HEAD", bucket, KEY).headers.get(name) == value
        except Fault as fault:
            if fault.status < 500 and not fault.denied:
                return False
            raise

    @contextmanager
    def _bucket(self) -> Iterator[str]:
        bucket = f"{self._prefix}{token_hex(5)}"
        with self._client.buckets() as minio:
            minio.make_bucket(bucket)
        try:
            yield bucket
        finally:
            self._remove(bucket)

    def _remove(self, bucket: str) -> None:
        try:
            self._client.send("DELETE", bucket, KEY)
            self._client.send("DELETE", bucket)
        except (Fault, NoAnswer):
            self.left.append(bucket)
