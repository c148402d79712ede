"""The table `[source.webhook]`."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from imgtag.flow.listen import is_loopback, parse_listen
from imgtag.plugin import Settings
from imgtag.plugin.notifications import MAX_BYTES

MIN_SECRET = 16
"""Characters of a secret, which others may guess at over the network."""


def _listen(text: str) -> str:
    if parse_listen(text)[1] == 0:
        raise ValueError("give the port number, which the store must know")
    return text


def _secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value().strip()) < MIN_SECRET:
        raise ValueError(f"a secret has at least {MIN_SECRET} characters")
    return secret


def _token(secret: SecretStr) -> SecretStr:
    # https://datatracker.ietf.org/doc/html/rfc6750#section-2.1; MinIO sends no token with spaces.
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", secret.get_secret_value().strip()):
        raise ValueError("a token has only letters, digits and - . _ ~ + / =")
    return secret


def _header(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", name):
        raise ValueError("the name of a header has letters, digits and dashes")
    return name


Secret = Annotated[SecretStr, AfterValidator(_secret)]


class WebhookSettings(Settings):
    """Where stores push their notifications, who may, and how many."""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        default="127.0.0.1:9465",
        description="HOST:PORT that the store pushes to. An address other than loopback needs `token` or "
        "`hmac_key`. The listener speaks HTTP without TLS: put a reverse proxy in front of it where others can read "
        "the traffic.",
    )
    token: Annotated[Secret, AfterValidator(_token)] | None = Field(
        default=None,
        description="Secret that the store sends as a bearer token, such as MinIO's `auth_token`. At least 16 "
        "characters.",
        examples=["a-long-random-text"],
    )
    hmac_key: Secret | None = Field(
        default=None,
        description="Key of an HMAC-SHA256 over the body, which the sender puts in `hmac_header` in hexadecimal, with "
        "or without `sha256=` before it. At least 16 characters. With `token` as well, both are required.",
    )
    hmac_header: Annotated[str, AfterValidator(_header)] = Field(
        default="X-Hub-Signature-256", description="The header with the HMAC."
    )
    max_body: int = Field(
        default=MAX_BYTES,
        ge=1 << 10,
        le=MAX_BYTES,
        description="Maximum size of one request, in bytes. No source reads larger notifications than the default.",
    )
    max_events: int = Field(
        default=100_000,
        ge=100,
        description="Maximum number of events in the spool, a file in the state folder. While it is full, requests are "
        "answered with 503, so that the store keeps its events and sends them again.",
    )
    stall: float = Field(
        default=600.0,
        ge=0,
        description="Seconds in which events came and none was finished, after which new ones are answered with 503 as "
        "well, but for one every five seconds, which shows whether it goes on; 0: never.",
    )
    rate: float = Field(default=2000.0, gt=0, description="Maximum number of requests a second; more get 429.")
    connections: int = Field(default=64, ge=1, le=1000, description="Maximum number of open connections.")

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        if self.token is None and self.hmac_key is None and not is_loopback(self.listen):
            raise ValueError(
                f"others can reach {self.listen}: set token (token_file) or hmac_key, or listen on 127.0.0.1"
            )
        return self
