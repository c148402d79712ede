"""Versions of one key, and the place that ours must have among them.

A server sorts versions by a time that it takes before it has the lock. So the version that we made of an older one can
come to lie above a newer upload, or above the marker of a deletion, and hide it. Ours must lie directly on the version
that it was made from; where it does not, and that one is still there with the same ETag, ours holds nothing that is not
in it, and goes. Whoever uploads may send a mark along that calls the upload ours: its bytes are its own, and it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import Fault, while_asking
from imgtag_s3.state import META

NULL = "null"
"""The id of the version that was written while the bucket kept none."""

_PAGE = 100
_OURS, _SKEW = 600.0, 60.0
"""Seconds that the version may be later than its mark, and that the clocks may differ."""
_REMEMBERED = 10_000


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version or a delete marker."""

    id: str
    latest: bool
    modified: float
    deleted: bool = False
    etag: str = ""


def between(versions: Sequence[Version], ours: str, source: str) -> Sequence[Version]:
    """What lies between ours and its source, and should not. ``versions`` from the newest to the oldest.

    Where the source is gone ours is the only copy, and is in its place whatever lies around it.
    """
    ids = [version.id for version in versions]
    if ours not in ids or source not in ids:
        return ()
    return versions[ids.index(ours) + 1 : ids.index(source)]


class Versions:
    """Looks at versions, and takes back ours."""

    def __init__(self, client: Client, site: str) -> None:
        self._client = client
        self._site = site
        self._written: dict[tuple[ObjectRef, str], str] = {}
        """Versions that this process made, by key and id: their sources."""

    def of(self, ref: ObjectRef) -> list[Version]:
        """All of the key, from the newest to the oldest."""
        found: list[Version] = []
        query = {"versions": "", "prefix": ref.key, "max-keys": str(_PAGE), "encoding-type": "url"}
        while True:
            root = xml.parse(self._client.send("GET", ref.bucket, query=query).data)
            entries = [each for each in root if each.tag in {"Version", "DeleteMarker"}]
            same = [each for each in entries if xml.unquoted(each, "Key") == ref.key]
            found += [_version(each) for each in same]
            # Keys that only begin as ours does come behind it.
            if xml.text(root, "IsTruncated") != "true" or len(same) < len(entries):
                return found
            query |= {
                "key-marker": xml.unquoted(root, "NextKeyMarker"),
                "version-id-marker": xml.text(root, "NextVersionIdMarker"),
            }

    def taken_back(self, state: ObjectState) -> bool:
        """Whether the object shown was a misplaced version of ours, and is gone now.

        Where it is under a lock it stays, and so does what it hides: nobody can do better.
        """
        if state.version is None:
            return False
        written = self._written.get((state.ref, state.version))
        source = written or self._marked_source(state)
        if source is None:
            return False
        try:
            versions = self.of(state.ref)
            hidden = between(versions, state.version, source)
            if not hidden or (written is None and self._users(state, source, versions, hidden)):
                return False
            self.delete(state.ref, state.version)
        except Fault as fault:
            if fault.status in {400, 403}:
                return False
            raise while_asking(fault) from fault
        return True

    def settle(self, ref: ObjectRef, ours: str, source: str) -> bool:
        """Take back what was just written where it is misplaced; whether it was. Raises Fault."""
        self._written[ref, ours] = source
        if len(self._written) > _REMEMBERED:
            self._written.pop(next(iter(self._written)), None)
        if not between(self.of(ref), ours, source):
            return False
        self.delete(ref, ours)
        return True

    def delete(self, ref: ObjectRef, version: str) -> None:
        """Remove this version, or delete marker, for good. Raises Fault, NoAnswer."""
        self._client.send("DELETE", ref.bucket, ref.key, query={"versionId": version})

    def _users(self, state: ObjectState, source: str, versions: Sequence[Version], hidden: Sequence[Version]) -> bool:
        """Whether it only looks as if it were ours. Where a KMS key changes ETags that cannot be told, and it stays."""
        same = any(version.id == source and version.etag == state.etag for version in versions)
        return not same or self._copied(state, hidden)

    def _copied(self, state: ObjectState, hidden: Sequence[Version]) -> bool:
        """Whether ours is in its place further down, and what is on top was made of it by a user: who edited its
        metadata, or restored it.
        """
        lowest = hidden[-1]
        return not lowest.deleted and self._mark(state.ref, lowest.id) == state.metadata[MARK]

    def _mark(self, ref: ObjectRef, version: str) -> str:
        headers = self._client.send("HEAD", ref.bucket, ref.key, query={"versionId": version}).headers
        return headers.get(f"{META}{MARK}", "")

    def _marked_source(self, state: ObjectState) -> str | None:
        """The source of a version that another process wrote, or this one before it was started anew; else None.

        A user's copy of ours has the same mark, but may have another key, or a later time.
        """
        mark = Mark.decode(state.metadata.get(MARK, ""))
        if mark is None or mark.owner != owner_digest(self._site, state.ref):
            return None
        return (mark.version or NULL) if -_SKEW < state.modified - mark.at < _OURS else None


def _version(element: xml.Element) -> Version:
    return Version(
        id=xml.text(element, "VersionId") or NULL,
        latest=xml.text(element, "IsLatest") == "true",
        modified=datetime.fromisoformat(xml.text(element, "LastModified")).timestamp(),
        deleted=element.tag == "DeleteMarker",
        etag=xml.text(element, "ETag").strip('"'),
    )
