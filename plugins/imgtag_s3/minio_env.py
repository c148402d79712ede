"""The lines in MinIO's environment that make it send notifications over NATS, or push them over HTTP.

https://min.io/docs/minio/linux/reference/minio-server/settings/notifications/nats.html
https://min.io/docs/minio/linux/reference/minio-server/settings/notifications/webhook-service.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imgtag.plugin import NotificationTarget

FAST, SAFE, WEBHOOK = "FAST", "SAFE", "IMGTAG"
"""Ids of the two proposed targets over NATS, and of the one over HTTP."""

_HEAD = f"""\
# Add these lines to MinIO's environment (/etc/default/minio, for example), restart MinIO, run setup again.
# Two targets, because neither is enough alone: {FAST} delivers at once, but loses what happens while NATS is down.
# {SAFE} keeps it in its queue folder until NATS is back, but delivers everything about three seconds late.
# The address is that of NATS as seen from here. Replace what stands in <>: credentials of MinIO's own; a queue
# folder that MinIO can write to and that survives restarts.
# SYNC_BOOT: without it a starting MinIO accepts uploads before it knows its targets, and sends nothing for them."""
_WEBHOOK_HEAD = """\
# Add these lines to MinIO's environment (/etc/default/minio, for example), restart MinIO, run setup again.
# The endpoint is that of the sidecar as seen from here. Replace what stands in <>: the `token` of [source.webhook]; a
# queue folder that MinIO can write to and that survives restarts. In it MinIO keeps what the sidecar has not taken.
# SYNC_BOOT: without it a starting MinIO accepts uploads before it knows its targets, and sends nothing for them."""
_SYNC_BOOT = "MINIO_SYNC_BOOT=on"
_VALUES_FOR: Mapping[str, Mapping[str, str]] = {
    "user": {"USERNAME": "<user>", "PASSWORD": "<password>"},
    "token": {"TOKEN": "<token>"},
    "nkey_seed": {"NKEY_SEED": "<seed-file>"},
    "creds": {"USER_CREDENTIALS": "<creds-file>"},
    "tls_ca": {"CERT_AUTHORITY": "<ca-file>"},
    "tls_cert": {"CLIENT_CERT": "<certificate-file>", "CLIENT_KEY": "<key-file>"},
    "tls_first": {"TLS_HANDSHAKE_FIRST": "on"},
}
"""What MinIO needs to connect, for each thing that the sidecar itself needs."""


def environment_lines(target: NotificationTarget, ids: Sequence[str]) -> str:
    """Lines for the targets of these ids, under comments that explain them, ready to paste.

    ``target`` is that of a source over NATS, or of one that is pushed to.
    """
    if target.kind == "webhook":
        values = {"ENABLE": "on", "ENDPOINT": target.address}
        values |= {"AUTH_TOKEN": "<token>"} if "token" in target.needs else {}
        values |= {"QUEUE_DIR": "<folder>"}
        return "\n".join(
            [_WEBHOOK_HEAD, _SYNC_BOOT, *(line for name in ids for line in _lines("WEBHOOK", name, values))]
        )
    lines = [_HEAD, _SYNC_BOOT]
    for name in ids:
        values = {"ENABLE": "on", "ADDRESS": target.address, "SUBJECT": target.subject}
        values |= {key: "on" for key, used in (("JETSTREAM", target.jetstream), ("TLS", target.tls)) if used}
        for need in target.needs:
            values |= _VALUES_FOR.get(need, {})
        if name != FAST:
            values["QUEUE_DIR"] = "<folder>"
        lines += _lines("NATS", name, values)
    return "\n".join(lines)


def _lines(kind: str, name: str, values: Mapping[str, str]) -> list[str]:
    suffix = "" if name == "_" else f"_{name}"  # `_` is the id of the target without a name
    return [f"MINIO_NOTIFY_{kind}_{key}{suffix}={value}" for key, value in values.items()]
