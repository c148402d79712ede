"""Write-back by sending the bytes again: PutObject with If-Match, which is checked under the object's lock.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import md5
from urllib.parse import urlencode

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectState
from imgtag_s3.client import Client
from imgtag_s3.state import CHECKSUM_TYPE, SSE, Native

_MD5 = re.compile(r"[0-9a-f]{32}")


def put(client: Client, state: ObjectState, headers: Mapping[str, str], body: bytes) -> str:
    """Write, and return the version id that came of it, or nothing. Raises Fault, NoAnswer."""
    native: Native = state.native
    sums = {name: value for name, value in native.checksums.items() if name != CHECKSUM_TYPE}
    sent = {**headers, **tagging(state), **sums, "If-Match": f'"{state.etag}"'}
    answer = client.send("PUT", state.ref.bucket, state.ref.key, headers=sent, body=body)
    return answer.headers.get("x-amz-version-id", "")


def verify(state: ObjectState, body: bytes) -> None:
    """Nothing is sent that is not byte for byte what is there. Raises WriteRefused(code="checksum").

    With a KMS key the ETag is no MD5.
    """
    plain = state.native.headers.get(SSE, "AES256") == "AES256" and _MD5.fullmatch(state.etag)
    if len(body) != state.size or (plain and md5(body, usedforsecurity=False).hexdigest() != state.etag):
        raise WriteRefused("the bytes read are not those that its length and ETag name", code="checksum")


def tagging(state: ObjectState) -> dict[str, str]:
    """The header that gives an object its tags in the same request."""
    return {"x-amz-tagging": urlencode(state.tags)} if state.tags else {}
