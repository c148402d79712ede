"""The table `[source.nats]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from imgtag.plugin import FROM_FILE, Settings

TOKEN = re.compile(r"[^\s.*>/\\\x00-\x1f]{1,128}")
SEED = re.compile(r"SU[A-Z2-7]{56}")
SUBJECT = re.compile(r"[^\s\x00-\x1f]{1,200}")


def _urls(text: str) -> str:
    for url in parse_urls(text):
        parts = urlsplit(url)
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise ValueError(
                f"{parts.scheme}://{parts.hostname} is not a NATS address: write nats://HOST:PORT or tls://HOST:PORT"
            )
        if parts.username or parts.password:
            raise ValueError("use the settings user, password and token instead: addresses are logged")
    return text


def _name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise ValueError("names of streams and durables cannot contain spaces, dots, slashes, `*` or `>`")
    return text


def _subject(text: str) -> str:
    tokens = text.split(".")
    misplaced = any(token in {"", ">"} for token in tokens[:-1]) or not tokens[-1]
    if misplaced or text.startswith("$") or not SUBJECT.fullmatch(text):
        raise ValueError("a subject is words separated by dots; the last one may be `>`")
    return text


def _seed(secret: SecretStr) -> SecretStr:
    if not SEED.fullmatch(secret.get_secret_value().strip()):
        raise ValueError("the seed of a user starts with SU and has 58 capital letters and digits")
    return secret


def _creds(secret: SecretStr) -> SecretStr:
    # nats-py never stops looking for the JWT in a file without one.
    if not all(part in secret.get_secret_value() for part in ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")):
        raise ValueError("this is not a .creds file, which holds the JWT and the seed of a user")
    return secret


def parse_urls(text: str) -> list[str]:
    """The URLs of the servers, which are separated by commas."""
    return [url.strip() for url in text.split(",") if url.strip()]


Urls = Annotated[str, Field(min_length=1), AfterValidator(_urls)]
Name = Annotated[str, AfterValidator(_name)]
Subject = Annotated[str, AfterValidator(_subject)]


class NatsSettings(Settings):
    """The server, the login there, and the stream of the notifications."""

    url: Urls = Field(
        default="nats://127.0.0.1:4222",
        description="The server; separate several servers of a cluster by commas. `tls://` requires TLS.",
    )
    subject: Subject | None = Field(
        default=None,
        description="Subject that the store publishes on, wildcards allowed. Default: imgtag.SITE.events.",
    )
    stream: Name | None = Field(
        default=None,
        description="The stream that stores the notifications. Default: an existing stream that has the "
        "subject, otherwise imgtag-SITE, which imgtag creates. imgtag adds its subjects to an existing "
        "stream and changes nothing else.",
    )
    durable: Name | None = Field(
        default=None,
        description="Name of the durable consumer that all sidecars of a site share. Default: imgtag-SITE.",
    )
    jetstream: bool = Field(
        default=True,
        description="`false` uses core NATS. Messages that are published while no sidecar listens are then lost, "
        "so imgtag compares all buckets with the index at each start and after each lost connection.",
    )
    domain: Name | None = Field(default=None, description="JetStream domain, for a stream beyond a leaf node.")

    user: Annotated[str | None, FROM_FILE] = Field(default=None, description="User name.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    token: SecretStr | None = Field(default=None, description="Token, for a server without users.")
    nkey_seed: Annotated[SecretStr, AfterValidator(_seed)] | None = Field(
        default=None, description="Seed of a user NKey (SU...)."
    )
    creds: Annotated[SecretStr, AfterValidator(_creds)] | None = Field(
        default=None, description="Content of a .creds file (JWT and seed); `creds_file` names the file."
    )
    tls_ca: Path | None = Field(
        default=None, description="File with the CA certificates to verify the server with. Makes TLS mandatory."
    )
    tls_cert: Path | None = Field(default=None, description="The sidecar's certificate, if the server asks for one.")
    tls_key: Path | None = Field(default=None, description="Private key of that certificate, unencrypted.")
    tls_first: bool = Field(
        default=False, description="Whether to start with the TLS handshake (`handshake_first` on the server)."
    )

    ack_wait: float = Field(
        default=30.0, ge=1, le=3600, description="Seconds until NATS delivers an unacknowledged notification again."
    )
    max_ack_pending: int = Field(
        default=1000,
        ge=10,
        description="Maximum number of notifications that all sidecars together have in progress or in back-off.",
    )
    pulls: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Maximum number of notifications that wait in the sidecar, fetched in batches of at least half as "
        "many; raise it if the server is far away.",
    )
    park: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Seconds until an object that was labelled while the index was down is indexed again.",
    )
    max_age: float = Field(
        default=0.0,
        ge=0,
        description="Seconds that a stream created by imgtag keeps unacknowledged notifications; 0: no limit.",
    )
    max_bytes: int = Field(
        default=1 << 30,
        ge=-1,
        description="Maximum size, in bytes, of a stream created by imgtag; -1: no limit. A full stream "
        "rejects messages, and a store with its own queue keeps what it could not send.",
    )
    backfill_messages: int = Field(
        default=100_000,
        ge=100,
        description="Maximum number of objects in the stream of distributed backfills, when imgtag creates it. While "
        "the stream is full, `imgtag backfill --distributed` waits.",
    )
    backfill_bytes: int = Field(
        default=64 << 20, ge=1 << 20, description="Maximum size, in bytes, of that stream; each object takes about 300."
    )
    replicas: int = Field(
        default=1, ge=1, le=5, description="Number of servers in the cluster that store a stream created by imgtag."
    )

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        ways = [name for name in ("user", "token", "nkey_seed", "creds") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are set: keep one of them")
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password belong together")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key belong together")
        return self

    @property
    def tls(self) -> bool:
        """Whether TLS is required."""
        return bool(self.tls_ca or self.tls_cert or self.tls_first) or self.url.startswith("tls:")
