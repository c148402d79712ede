"""Who may use the API: whoever presents the token, or the cookie that the page got for it."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

COOKIE = "imgtag_session"
LIFETIME = 12 * 3600
"""Seconds."""
MAX_REVOKED = 10_000
"""Sessions ended before their time that are remembered."""


class Sessions:
    """Sessions without a store: a cookie says until when it holds, signed with a key that is made from the token.

    So it outlives a restart, holds at every sidecar with the same token, and ends when the token changes.
    """

    def __init__(self, token: str | None, clock: Callable[[], float] = time.time) -> None:
        self._token = token
        self._clock = clock
        self._key = hmac.digest((token or "").encode(), b"imgtag web session", "sha256")
        self._revoked: OrderedDict[str, None] = OrderedDict()

    @property
    def needed(self) -> bool:
        """Whether there is a token at all."""
        return self._token is not None

    def accepts(self, token: str) -> bool:
        """Whether it is the token. Takes as long whatever is wrong with it."""
        if self._token is None:
            return True
        # Digests, as the comparison shows the length of what it is given.
        return hmac.compare_digest(sha256(token.encode()).digest(), sha256(self._token.encode()).digest())

    def open(self) -> str:
        """The value of a new cookie."""
        text = f"{int(self._clock()) + LIFETIME}.{secrets.token_hex(16)}"
        return f"{text}.{self._sign(text)}"

    def close(self, cookie: str) -> None:
        """End a session, if it is one."""
        if session := self.find(cookie):
            self._revoked[session] = None
            while len(self._revoked) > MAX_REVOKED:
                self._revoked.popitem(last=False)

    def find(self, cookie: str) -> str | None:
        """The id of the session; None where the cookie was not made here, has expired or was closed."""
        text, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(text).encode()):
            return None
        end, _, session = text.partition(".")
        return session if int(end) > self._clock() and session not in self._revoked else None

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), "sha256").hexdigest()


def read_cookie(header: str) -> str:
    """The value of our cookie; empty where there is none.

    Not by `http.cookies`, which gives up at the first cookie that it dislikes: cookies of other programs on this host
    come along, as a port makes no difference to them.
    """
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")


def write_cookie(value: str, *, secure: bool) -> str:
    """The header that sets our cookie; an empty value removes it."""
    lifetime = LIFETIME if value else 0
    attributes = f"Path=/; HttpOnly; SameSite=Strict; Max-Age={lifetime}{'; Secure' if secure else ''}"
    return f"{COOKIE}={value}; {attributes}"
