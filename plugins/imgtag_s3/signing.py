"""Signature version 4 in the headers of a request.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
"""In place of the body's digest, where TLS protects the body."""
EMPTY_PAYLOAD = sha256(b"").hexdigest()
_MANY_SPACES = re.compile(" +")


class Signer:
    """Signs for one user and region. The key that is derived for a day is kept for that day."""

    def __init__(self, access_key: str, secret_key: str, session_token: str | None, region: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._session_token = session_token
        self._region = region
        self._day, self._key = "", b""

    def sign(
        self, method: str, path: str, query: str, headers: Mapping[str, str], payload: str, now: datetime
    ) -> dict[str, str]:
        """``headers``, which include ``host``, with the signature and what it needs; all names in lower case.

        ``path`` and ``query`` are encoded as they are sent, the parameters of ``query`` in order. ``payload`` is the
        SHA-256 of the body in hex, or UNSIGNED_PAYLOAD. ``now`` is in UTC. Header values are signed as UTF-8.
        """
        moment = now.strftime("%Y%m%dT%H%M%SZ")
        signed = {name.lower(): value for name, value in headers.items()}
        signed |= {"x-amz-date": moment, "x-amz-content-sha256": payload}
        if self._session_token:
            signed["x-amz-security-token"] = self._session_token
        names = sorted(signed)
        listed, lines = ";".join(names), "".join([f"{name}:{signed[name].strip()}\n" for name in names])
        if "  " in lines:
            lines = _MANY_SPACES.sub(" ", lines)
        request = f"{method}\n{path}\n{query}\n{lines}\n{listed}\n{payload}"
        day = moment[:8]
        scope = f"{day}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(day), text.encode(), "sha256").hex()
        signed["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
        )
        return signed

    def _key_of(self, day: str) -> bytes:
        if self._day != day:
            key = f"AWS4{self._secret_key}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key = day, key
        return self._key
