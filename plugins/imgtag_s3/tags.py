"""Write-back into object tags: ten in all, shared with the user's.

They are no part of the object: no new version, no new time, no new ETag.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice

from imgtag.errors import WriteRefused
from imgtag.types.labels import parse_confidence
from imgtag.types.metadata import RESERVED, MetadataCodec
from imgtag.types.ref import ObjectState
from imgtag_s3 import xml
from imgtag_s3.client import Client

SLOTS = 10
_ALLOWED = re.compile(r"[a-zA-Z0-9+\-._:/@ =]{1,128}")
"""What every server takes; MinIO takes no more."""


def tagged(state: ObjectState, metadata: Mapping[str, str]) -> dict[str, str]:
    """The user's tags, and beside them the labels of ``metadata``, the surest first, as many as there are slots.

    Raises WriteRefused(code="tags_full") where there is none left for a label.
    """
    user = {key: value for key, value in state.tags.items() if not _is_label(key, value)}
    labels = {name: value for name, value in metadata.items() if name not in state.metadata and name not in RESERVED}
    fitting = (each for each in sorted(labels.items(), key=_surest) if each[0] not in user and _fits(each[0]))
    taken = dict(islice(fitting, max(0, SLOTS - len(user))))
    if labels and not taken:
        raise WriteRefused(f"its {len(user)} tags leave no slot for a label", code="tags_full")
    return {**user, **taken}


def write_tags(client: Client, state: ObjectState, tags: Mapping[str, str]) -> None:
    """Replace all tags of this very version. Raises Fault, NoAnswer."""
    root = xml.Element("Tagging")
    tag_set = xml.add(root, "TagSet")
    for key, value in tags.items():
        xml.add(tag_set, "Tag", Key=key, Value=value)
    query = {"tagging": ""} | ({"versionId": state.version} if state.version else {})
    client.send("PUT", state.ref.bucket, state.ref.key, query=query, body=xml.render(root))


def _is_label(key: str, value: str) -> bool:
    return key.startswith(MetadataCodec.prefix) and parse_confidence(value) is not None


def _fits(name: str) -> bool:
    return _ALLOWED.fullmatch(name) is not None


def _surest(entry: tuple[str, str]) -> tuple[float, str]:
    return -(parse_confidence(entry[1]) or 0.0), entry[0]
