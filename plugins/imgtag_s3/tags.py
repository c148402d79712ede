"""Write-back into object tags: at most ten, shared with the user's.

Tags are not part of the object's content: writing them changes neither version, time nor ETag.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice

from imgtag.errors import WriteRefused
from imgtag.plugin.store import Rewrite
from imgtag.types.labels import parse_confidence
from imgtag.types.ref import ObjectState
from imgtag_s3 import xml
from imgtag_s3.client import Client

MAX_TAGS = 10
_ALLOWED = re.compile(r"[a-zA-Z0-9+\-._:/@ =]{1,128}")
"""The tag keys that every server accepts; MinIO accepts no others."""


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
    fitting = (label for label in ranked if label[0] not in user and _ALLOWED.fullmatch(label[0]))
    labels = dict(islice(fitting, max(0, MAX_TAGS - len(user))))
    if change.labels and not labels:
        raise WriteRefused(f"its {len(user)} tags leave no room for a label", code="tags_full")
    return {**user, **labels}


def write_tags(client: Client, state: ObjectState, tags: Mapping[str, str]) -> None:
    """Replace all tags of exactly this version. Raises S3Error."""
    root = xml.Element("Tagging")
    tag_set = xml.add(root, "TagSet")
    for key, value in tags.items():
        xml.add(tag_set, "Tag", Key=key, Value=value)
    query = {"tagging": ""} | ({"versionId": state.version} if state.version else {})
    client.send("PUT", state.ref.bucket, state.ref.key, query=query, body=xml.render(root))
