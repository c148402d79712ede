"""What whoever lets a store notify over NATS must know of us."""

from __future__ import annotations

from urllib.parse import urlsplit

from imgtag_nats.names import Names
from imgtag_nats.settings import NatsSettings, addresses

PORT = 4222
"""NATS' own, where the address names none."""
NEEDS = ("user", "token", "nkey_seed", "creds", "tls_ca", "tls_cert", "tls_first")


def listens(settings: NatsSettings, names: Names) -> dict[str, str]:
    """As `SourceFeatures.listens`: one address, one subject, and which settings we need to be taken there."""
    return {
        "kind": "nats",
        "address": _address(addresses(settings.url)[0]),
        "subject": _published(names.subject),
        "jetstream": _switch(settings.jetstream),
        "tls": _switch(settings.tls),
        "needs": " ".join(name for name in NEEDS if getattr(settings, name)),
    }


def _address(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or PORT}"


def _published(subject: str) -> str:
    """A publisher needs a subject without wildcards: one that ours takes in."""
    return ".".join("store" if token in {"*", ">"} else token for token in subject.split("."))


def _switch(on: bool) -> str:  # noqa: FBT001
    return "on" if on else "off"
