"""What NATS and JetStream refuse, as errors of the sidecar."""

from __future__ import annotations

import ssl

from nats.errors import Error as NatsError
from nats.errors import SecureConnWantedError

from imgtag.errors import Unavailable

CONNECTION_ERRORS = (NatsError, OSError, TimeoutError)
"""What nats-py raises when a connection fails or is lost."""
NOT_FOUND = 404
OFF = 503
STORE_FAILED, WRONG_LAST_SEQUENCE = 10077, 10071
"""Each an `err_code`: a full stream refuses a message; a message was to follow one that is not the last of its
subject.
"""
PERMISSION_HINT = "Give the user of the sidecar the permissions that `imgtag policy` prints."
LIMIT_HINTS = {
    10023: "Give the account or the server more room, or set a smaller `max_bytes` under [source.nats].",
    10026: "Raise `max_consumers` of the account or of the stream: the sidecar needs three consumers, "
    "and each distributed backfill one more.",
    10027: "Raise `max_streams` of the account, or name its stream: `stream` under [source.nats]. "
    "Distributed backfills need two streams more.",
    10028: "Raise `max_memory` or `max_file` of the account, or set a smaller `max_bytes` under [source.nats].",
    10047: "Give the account or the server more room, or set a smaller `max_bytes` under [source.nats].",
}
"""Limits of accounts and servers by JetStream's `err_code`.

https://github.com/nats-io/nats-server/blob/main/server/errors.json
"""
_LOGIN_FAILURES = ("authorization", "authentication")


class JetStreamError(Unavailable):
    """JetStream answered with an error: ``status`` is like an HTTP status, ``err_code`` (0 if unknown) more exact."""

    default_code = "jetstream"

    def __init__(self, message: str, *, status: int, err_code: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.err_code = err_code


class ConsumerGone(Unavailable):
    """The consumer, or its stream, was deleted."""


def map_connect_error(url: str, error: BaseException) -> Unavailable:
    """Why a server could not be used, with what to do about it."""
    reason = describe(error)
    if isinstance(error, SecureConnWantedError):
        hint = "Enable TLS on the server, or use nats:// without tls_ca and tls_cert; nothing secret was sent."
        return Unavailable(f"{url} does not offer TLS, which the settings require", hint=hint)
    if any(word in reason.lower() for word in _LOGIN_FAILURES):
        hint = "Check user, password, token, nkey_seed or creds under [source.nats], and the users of the server."
        return Unavailable(f"{url} rejected the login: {reason}", hint=hint)
    if isinstance(error, ssl.SSLError):
        hint = "Check tls_ca, tls_cert and tls_key under [source.nats]."
        return Unavailable(f"TLS with {url} failed: {reason}", hint=hint)
    return Unavailable(f"{url} does not answer: {reason}", hint="Check url under [source.nats], and that NATS runs.")


def describe(error: BaseException) -> str:
    """The reason without nats-py's prefix; never empty."""
    return str(error).removeprefix("nats: ") or type(error).__name__
