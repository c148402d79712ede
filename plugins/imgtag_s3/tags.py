"""Write-back into object tags: at most ten, shared with the user's.

Tags are not part of the object's content: writing them changes neither version, time nor ETag.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from itertools import islice

from imgtag.errors import WriteRefused
from imgtag.plugin.store import Rewrite
from imgtag.types.labels import parse_confidence
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.state import Native

MAX_TAGS = 10
_BELIEF = 300.0
"""Seconds for which a right to read tags is believed."""
_MAX_FOLDERS = 1_000
_ALLOWED = re.compile(r"[a-zA-Z0-9+\-._:/@ =]{1,128}")
"""The tag keys that every server accepts; MinIO accepts no others."""


class TagRights:
    """Where tags may be read. MinIO counts them in the headers of an object, but only for users who may read them.

    Policies go by prefix, so this is learnt folder by folder; it is believed for some minutes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}

    def note(self, ref: ObjectRef) -> None:
        """The tags of this object could be read."""
        folder = _folder(ref)
        self._until.pop(folder, None)
        self._until[folder] = self._clock() + _BELIEF
        if len(self._until) > _MAX_FOLDERS:
            del self._until[next(iter(self._until))]

    def forget(self, ref: ObjectRef) -> None:
        """The tags of this object could not be read."""
        self._until.pop(_folder(ref), None)

    def proves_no_tags(self, state: ObjectState) -> bool:
        """Whether headers without a count mean that the object has no tags."""
        native: Native = state.native
        return not state.tags and native.is_minio and self._clock() < self._until.get(_folder(state.ref), 0.0)


def _folder(ref: ObjectRef) -> tuple[str, str]:
    return ref.bucket, ref.key.rpartition("/")[0]


def merge_tags(change: Rewrite) -> dict[str, str]:
    """The user's tags and the labels of ``change``, those of the highest confidence first, up to `MAX_TAGS` in all.

    Raises WriteRefused(code="tags_full") where the user's tags leave no room for a label.
    """
    user = {
        key: value
        for key, value in change.state.tags.items()
        if not (key.startswith(change.label_prefix) and parse_confidence(value) is not None)
    }
    ranked = sorted(change.labels.items(), key=lambda label: (-(parse_confidence(label[1]) or 0.0), label[0]))
    # A tag that is there is kept whatever its name is: the server accepted it once.
    allowed = (label for label in ranked if label[0] in change.state.tags or _ALLOWED.fullmatch(label[0]))
    fitting = (label for label in allowed if label[0] not in user)
    labels = dict(islice(fitting, max(0, MAX_TAGS - len(user))))
    if change.labels and not labels:
        raise WriteRefused(f"its {len(user)} tags leave no room for a label", code="tags_full")
    return {**user, **labels}


async def write_tags(client: Client, state: ObjectState, tags: Mapping[str, str]) -> None:
    """Replace all tags of exactly this version. Raises S3Error."""
    root = xml.Element("Tagging")
    tag_set = xml.add(root, "TagSet")
    for key, value in tags.items():
        xml.add(tag_set, "Tag", Key=key, Value=value)
    query = {"tagging": ""} | ({"versionId": state.version} if state.version else {})
    await client.send("PUT", state.ref.bucket, state.ref.key, query=query, body=xml.render(root))
