"""The table `[source.nats]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from imgtag.plugin.spec import FROM_FILE, Settings

TOKEN = re.compile(r"[^\s.*>/\\\x00-\x1f]{1,128}")
SEED = re.compile(r"SU[A-Z2-7]{56}")
SUBJECT = re.compile(r"[^\s\x00-\x1f]{1,200}")


def _urls(text: str) -> str:
    for url in addresses(text):
        parts = urlsplit(url)
        if parts.scheme not in {"nats", "tls"} or not parts.hostname:
            raise ValueError(
                f"{parts.scheme}://{parts.hostname} is no address: write nats://HOST:PORT or tls://HOST:PORT"
            )
        if parts.username or parts.password:
            raise ValueError("give user, password and token in settings of their own: addresses are logged")
    return text


def _name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise ValueError("streams and durables have names without spaces, dots, slashes, `*` and `>`")
    return text


def _subject(text: str) -> str:
    tokens = text.split(".")
    misplaced = any(token in {"", ">"} for token in tokens[:-1]) or not tokens[-1]
    if misplaced or text.startswith("$") or not SUBJECT.fullmatch(text):
        raise ValueError("a subject is words with dots between them; the last one may be `>`")
    return text


def _seed(secret: SecretStr) -> SecretStr:
    if not SEED.fullmatch(secret.get_secret_value().strip()):
        raise ValueError("the seed of a user begins with SU and has 58 capital letters and digits")
    return secret


def _creds(secret: SecretStr) -> SecretStr:
    # nats-py looks for the first of them for ever.
    if not all(part in secret.get_secret_value() for part in ("BEGIN NATS USER JWT", "BEGIN USER NKEY SEED")):
        raise ValueError("this is no .creds file: it has to hold a user's JWT and seed")
    return secret


def addresses(url: str) -> list[str]:
    """The servers that ``url`` names."""
    return [each.strip() for each in url.split(",") if each.strip()]


Urls = Annotated[str, Field(min_length=1), AfterValidator(_urls)]
Name = Annotated[str, AfterValidator(_name)]
Subject = Annotated[str, AfterValidator(_subject)]


class NatsSettings(Settings):
    """Which server, who we are there, and which stream the notifications are in."""

    url: Urls = Field(
        default="nats://127.0.0.1:4222",
        description="The server; several of a cluster with commas between them. `tls://` insists on TLS.",
    )
    subject: Subject | None = Field(
        default=None,
        description="What the store publishes its notifications on, wildcards allowed. Default: imgtag.SITE.events.",
    )
    stream: Name | None = Field(
        default=None,
        description="The stream that keeps them. Default: the one that has the subject already, else imgtag-SITE, "
        "which is made. A stream that is there gets our subjects, and keeps everything else.",
    )
    durable: Name | None = Field(
        default=None,
        description="Name of the durable consumer that all sidecars of a site share. Default: imgtag-SITE.",
    )
    jetstream: bool = Field(
        default=True,
        description="With `false` plain NATS is enough. Whatever is published while no sidecar listens is lost; "
        "all buckets are compared with the index at each start and after each lost connection.",
    )
    domain: Name | None = Field(default=None, description="JetStream domain, where the stream is behind a leaf node.")

    user: Annotated[str | None, FROM_FILE] = Field(default=None, description="User name.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    token: SecretStr | None = Field(default=None, description="Token, where the server knows no users.")
    nkey_seed: Annotated[SecretStr, AfterValidator(_seed)] | None = Field(
        default=None, description="Seed of a user NKey (SU...)."
    )
    creds: Annotated[SecretStr, AfterValidator(_creds)] | None = Field(
        default=None, description="Content of a .creds file (JWT and seed); `creds_file` names the file."
    )
    tls_ca: Path | None = Field(default=None, description="Whom to believe the server's certificate. Insists on TLS.")
    tls_cert: Path | None = Field(default=None, description="Our own certificate, where the server asks for one.")
    tls_key: Path | None = Field(default=None, description="Private key of our certificate.")
    tls_first: bool = Field(default=False, description="TLS before the server says anything (`handshake_first` there).")

    ack_wait: float = Field(
        default=30.0, ge=1, le=3600, description="Seconds until a notification nobody answered for is given to another."
    )
    max_ack_pending: int = Field(
        default=1000, ge=10, description="Notifications that all sidecars together may have in work or in back-off."
    )
    pulls: int = Field(
        default=2,
        ge=1,
        le=32,
        description="Notifications that may wait here for the pipeline; more help where the way to the server is long.",
    )
    park: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Seconds until an object that was labelled while the index was down is tried there again.",
    )
    max_age: float = Field(
        default=0.0, ge=0, description="Seconds that a stream of ours keeps notifications nobody took; 0: for ever."
    )
    max_bytes: int = Field(
        default=1 << 30,
        ge=-1,
        description="Bytes that a stream of ours may take; -1: no limit. When it is full publishers are refused, "
        "and a store with a queue of its own keeps what it could not send.",
    )
    replicas: int = Field(default=1, ge=1, le=5, description="Servers of a cluster that keep a stream of ours.")

    @model_validator(mode="after")
    def _one_identity(self) -> Self:
        ways = [name for name in ("user", "token", "nkey_seed", "creds") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{' and '.join(ways)} are given: keep one")
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password belong together")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key belong together")
        return self

    @property
    def tls(self) -> bool:
        """Whether a connection without TLS is refused."""
        return bool(self.tls_ca or self.tls_cert or self.tls_first) or self.url.startswith("tls:")
