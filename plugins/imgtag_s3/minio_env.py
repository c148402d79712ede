"""The lines in MinIO's environment that make it send notifications over NATS.

https://min.io/docs/minio/linux/reference/minio-server/settings/notifications/nats.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imgtag.plugin import NotificationTarget

FAST, SAFE = "FAST", "SAFE"
"""Ids of the two proposed targets."""

_HEAD = f"""\
# Add these lines to MinIO's environment (/etc/default/minio, for example), restart MinIO, run setup again.
# Two targets, because neither is enough alone: {FAST} delivers at once, but loses what happens while NATS is down.
# {SAFE} keeps it in its queue folder until NATS is back, but delivers everything about three seconds late.
# The address is that of NATS as seen from here. Replace what stands in <>: credentials of MinIO's own; a queue
# folder that MinIO can write to and that survives restarts.
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

    ``target`` is that of a source over NATS.
    """
    lines = [_HEAD, _SYNC_BOOT]
    for name in ids:
        values = {"ENABLE": "on", "ADDRESS": target.address, "SUBJECT": target.subject}
        values |= {key: "on" for key, used in (("JETSTREAM", target.jetstream), ("TLS", target.tls)) if used}
        for need in target.needs:
            values |= _VALUES_FOR.get(need, {})
        if name != FAST:
            values["QUEUE_DIR"] = "<folder>"
        suffix = "" if name == "_" else f"_{name}"  # `_` is the id of the target without a name
        lines += [f"MINIO_NOTIFY_NATS_{key}{suffix}={value}" for key, value in values.items()]
    return "\n".join(lines)
