"""Write-back by a copy of the object onto itself: for versioned objects, where it makes a further version.

On an object without versions a newer upload can be lost, for the server checks the condition before it takes the lock.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""

from __future__ import annotations

from collections.abc import Mapping

from imgtag.types.ref import ObjectState
from imgtag_s3.client import Client, source


def copy(client: Client, state: ObjectState, headers: Mapping[str, str]) -> str:
    """Write, and return the version id that came of it, or nothing. Raises Fault, NoAnswer. Tags are kept by COPY."""
    sent = {**headers, **copied_from(state), "x-amz-metadata-directive": "REPLACE"}
    answer = client.send("PUT", state.ref.bucket, state.ref.key, headers=sent)
    return answer.headers.get("x-amz-version-id", "")


def copied_from(state: ObjectState) -> dict[str, str]:
    """Which bytes: those of exactly this version and ETag."""
    return {
        "x-amz-copy-source": source(state.ref.bucket, state.ref.key, state.version or ""),
        "x-amz-copy-source-if-match": f'"{state.etag}"',
    }
