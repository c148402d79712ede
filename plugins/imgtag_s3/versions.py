"""Versions of one key, and the place that ours must have among them.

A server sorts versions by a time that it takes before it has the lock. So the version that we made of an older one can
land above a newer upload, or above a delete marker, and hide it. Ours must lie directly on the version that it was
made from. Where it does not, and that source is still there with the same ETag, ours holds nothing that the source
lacks, and is withdrawn. An upload may carry a mark that claims it as ours: its bytes are its own, and it stays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, ObjectState, Scope
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error, map_request_error
from imgtag_s3.state import META, parse_state

NULL = "null"
"""The id of a version that was written while the bucket kept none."""

_PAGE, _SCAN_PAGE = 100, 1_000
_MAX_WRITE_SECONDS, _MAX_SKEW = 600.0, 60.0
"""How much later than its mark a version of ours can be, and how far clocks may differ."""
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version or a delete marker."""

    id: str
    latest: bool
    modified: float
    deleted: bool = False
    etag: str = ""


def hidden_versions(versions: Sequence[Version], ours: str, source: str) -> Sequence[Version]:
    """The versions between ours and its source, where none should be. ``versions``: the newest first.

    Where the source is gone ours is the only copy, and in its place whatever lies around it.
    """
    ids = [version.id for version in versions]
    if ours not in ids or source not in ids:
        return ()
    return versions[ids.index(ours) + 1 : ids.index(source)]


class Versions:
    """Lists versions, and withdraws ours."""

    def __init__(self, client: Client, site: str) -> None:
        self._client = client
        self._site = site
        self._written: dict[tuple[ObjectRef, str], str] = {}
        """The sources of the versions that this process made, by key and id."""

    async def list_versions(self, ref: ObjectRef) -> list[Version]:
        """All versions and delete markers of the key, the newest first. Raises S3Error."""
        versions: list[Version] = []
        async for key, version in self._entries(Scope(ref.bucket, ref.key), _PAGE):
            if key != ref.key:  # the prefix also matches longer keys, which come after this one
                break
            versions.append(version)
        return versions

    async def list_misplaced(self, scope: Scope) -> AsyncIterator[ObjectRef]:
        """The objects that are shown as a misplaced version of ours, in order. Raises S3Error.

        One request a page. A version of ours has the ETag of its source, so that few others are worth a HEAD.
        """
        key, versions = "", list[Version]()
        async for entry_key, version in self._entries(scope, _SCAN_PAGE):
            if entry_key != key:
                if await self._is_misplaced(ref := ObjectRef(scope.bucket, key), versions):
                    yield ref
                key, versions = entry_key, []
            versions.append(version)
        if await self._is_misplaced(ref := ObjectRef(scope.bucket, key), versions):
            yield ref

    async def _is_misplaced(self, ref: ObjectRef, versions: Sequence[Version]) -> bool:
        if not versions or versions[0].deleted or all(each.etag != versions[0].etag for each in versions[2:]):
            return False
        ours = versions[0]
        query = {"versionId": ours.id}
        try:
            head = await self._client.send("HEAD", ref.bucket, ref.key, query=query)
            state = parse_state(ref, head.headers, {}, size=0, write_on=frozenset())
            source = self._marked_source(state)
            hidden = hidden_versions(versions, ours.id, source) if source else ()
            return bool(source and hidden) and not await self._is_users(state, source or "", versions, hidden)
        except S3Error as error:
            if error.absent or error.status in {400, 403}:  # deleted meanwhile, or not ours to read
                return False
            raise

    async def _entries(self, scope: Scope, size: int) -> AsyncIterator[tuple[str, Version]]:
        """Versions and delete markers with their keys, those of one key the newest first, ``size`` in a request."""
        query = {"versions": "", "prefix": scope.prefix, "max-keys": str(size), "encoding-type": "url"}
        while True:
            root = xml.parse((await self._client.send("GET", scope.bucket, query=query)).data)
            for entry in root:
                if entry.tag in {"Version", "DeleteMarker"}:
                    yield (
                        xml.decode_url(entry, "Key"),
                        Version(
                            id=xml.text(entry, "VersionId") or NULL,
                            latest=xml.text(entry, "IsLatest") == "true",
                            modified=datetime.fromisoformat(xml.text(entry, "LastModified")).timestamp(),
                            deleted=entry.tag == "DeleteMarker",
                            etag=xml.text(entry, "ETag").strip('"'),
                        ),
                    )
            if xml.text(root, "IsTruncated") != "true":
                return
            query |= {
                "key-marker": xml.decode_url(root, "NextKeyMarker"),
                "version-id-marker": xml.text(root, "NextVersionIdMarker"),
            }

    async def withdraw_misplaced(self, state: ObjectState) -> bool:
        """Withdraw the version that is shown if it is a misplaced one of ours; whether it was.

        Under a lock it stays, and what it hides stays hidden: nobody can do better.
        """
        if state.version is None:
            return False
        written = self._written.get((state.ref, state.version))
        source = written or self._marked_source(state)
        if source is None:
            return False
        try:
            versions = await self.list_versions(state.ref)
            hidden = hidden_versions(versions, state.version, source)
            if not hidden or (written is None and await self._is_users(state, source, versions, hidden)):
                return False
            await self.delete(state.ref, state.version)
        except S3Error as error:
            if error.status in {400, 403}:
                return False
            raise map_request_error(error) from error
        return True

    async def withdraw_if_hiding(self, ref: ObjectRef, ours: str, source: str) -> bool:
        """Withdraw the version that was just written if it hides another; whether it did. Raises S3Error."""
        self._written[ref, ours] = source
        if len(self._written) > _MAX_REMEMBERED:
            self._written.pop(next(iter(self._written)), None)
        if not hidden_versions(await self.list_versions(ref), ours, source):
            return False
        await self.delete(ref, ours)
        return True

    async def delete(self, ref: ObjectRef, version: str) -> None:
        """Remove this version, or delete marker, for good. Raises S3Error, NoResponse."""
        await self._client.send("DELETE", ref.bucket, ref.key, query={"versionId": version})

    async def _is_users(
        self, state: ObjectState, source: str, versions: Sequence[Version], hidden: Sequence[Version]
    ) -> bool:
        """Whether the version only looks like ours: other bytes, or a user's copy of ours.

        In such a copy a user edited the metadata of ours, or restored it: then ours lies further down, in its place.
        A KMS key changes ETags, so there the bytes cannot be compared, and the version stays.
        """
        if not any(version.id == source and version.etag == state.etag for version in versions):
            return True
        lowest = hidden[-1]
        if lowest.deleted:
            return False
        head = await self._client.send("HEAD", state.ref.bucket, state.ref.key, query={"versionId": lowest.id})
        return head.headers.get(f"{META}{MARK}", "") == state.metadata[MARK]

    def _marked_source(self, state: ObjectState) -> str | None:
        """The source of a version that another process wrote, or this one before a restart; else None.

        A user's copy of ours has the same mark, but another key, or a later time.
        """
        mark = Mark.decode(state.metadata.get(MARK, ""))
        if mark is None or mark.owner != owner_digest(self._site, state.ref):
            return None
        return (mark.version or NULL) if -_MAX_SKEW < state.modified - mark.at < _MAX_WRITE_SECONDS else None
