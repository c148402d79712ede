"""The two requests that write an object which was uploaded whole.

PutObject sends the bytes again with If-Match, which is checked under the object's lock.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

CopyObject onto itself is for versioned objects, where it makes another version. On an object without versions a newer
upload can be lost, because the server checks the condition before it takes the lock.
https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import md5
from typing import NamedTuple, Self
from urllib.parse import urlencode

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectState
from imgtag_s3.client import Client, Response, copy_source
from imgtag_s3.state import CHECKSUM_TYPE, SSE, Native
from imgtag_s3.versions import NULL

_MD5 = re.compile(r"[0-9a-f]{32}")


class Written(NamedTuple):
    """What the response to a write says; ``version`` is empty where the write made none.

    ``request`` is the request's id, which its event repeats, ``date`` when the server responded. All but ``version``
    may be missing.
    """

    version: str
    request: str | None = None
    etag: str = ""
    date: str = ""

    @classmethod
    def of(cls, response: Response) -> Self:
        """From the headers of a response."""
        headers = response.headers
        return cls(
            version=headers.get("x-amz-version-id", "").replace(NULL, ""),
            request=headers.get("x-amz-request-id"),
            etag=headers.get("etag", "").strip('"'),
            date=headers.get("date", ""),
        )


async def put_object(
    client: Client, state: ObjectState, headers: Mapping[str, str], body: bytes, digest: bytes | None
) -> Written:
    """Write; ``digest`` is the SHA-256 of ``body``, where it is known. Raises S3Error, NoResponse."""
    native: Native = state.native
    sums = {name: value for name, value in native.checksums.items() if name != CHECKSUM_TYPE}
    conditional = {**headers, **tagging_header(state), **sums, "If-Match": f'"{state.etag}"'}
    if _is_md5(state):
        conditional["Content-MD5"] = b64encode(bytes.fromhex(state.etag)).decode()
    response = await client.send("PUT", state.ref.bucket, state.ref.key, headers=conditional, body=body, digest=digest)
    return Written.of(response)


async def copy_object(client: Client, state: ObjectState, headers: Mapping[str, str]) -> Written:
    """As `put_object`; the server keeps the tags."""
    replacing = {**headers, **copy_source_headers(state), "x-amz-metadata-directive": "REPLACE"}
    response = await client.send("PUT", state.ref.bucket, state.ref.key, headers=replacing)
    return Written.of(response)


def verify_body(state: ObjectState, body: bytes) -> None:
    """Raise WriteRefused(code="checksum") unless these are, byte for byte, the bytes of ``state``.

    With a KMS key, or of parts, the ETag is not the MD5: then only the length is compared. So it is with MinIO, which
    refuses other bytes by itself, because `put_object` sends the ETag as the Content-MD5.
    """
    native: Native = state.native
    is_digested = _is_md5(state) and not native.is_minio
    if len(body) != state.size or (is_digested and md5(body, usedforsecurity=False).hexdigest() != state.etag):
        raise WriteRefused("the bytes that were read do not have its length and ETag", code="checksum")


def _is_md5(state: ObjectState) -> bool:
    """Whether the ETag is the MD5 of the bytes."""
    return state.native.headers.get(SSE, "AES256") == "AES256" and bool(_MD5.fullmatch(state.etag))


def tagging_header(state: ObjectState) -> dict[str, str]:
    """The header that sets an object's tags in the request that writes it."""
    return {"x-amz-tagging": urlencode(state.tags)} if state.tags else {}


def copy_source_headers(state: ObjectState) -> dict[str, str]:
    """Copy from exactly this version and ETag."""
    return {
        "x-amz-copy-source": copy_source(state.ref.bucket, state.ref.key, state.version or ""),
        "x-amz-copy-source-if-match": f'"{state.etag}"',
    }
