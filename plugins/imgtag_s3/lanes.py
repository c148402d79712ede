"""The lines of a MinIO's environment that make it notify over NATS.

https://min.io/docs/minio/linux/reference/minio-server/settings/notifications/nats.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FAST, SAFE = "FAST", "SAFE"
"""Ids of the two targets that we propose."""

HEAD = f"""\
# Put these lines into MinIO's environment (/etc/default/minio, say), restart MinIO, run setup again.
# Two targets, for neither is enough alone: {FAST} is told at once, but loses what happens while NATS is away.
# {SAFE} keeps that in its queue folder until NATS is back, but is told everything about three seconds late.
# The address is NATS as seen from here. What stands in <> is for you to fill in: credentials of MinIO's own;
# a queue folder that MinIO can write and that survives restarts.
# SYNC_BOOT: without it a MinIO that starts takes uploads before it knows its targets, and tells nobody of them."""
SYNC = "MINIO_SYNC_BOOT=on"
_NEEDS: Mapping[str, Mapping[str, str]] = {
    "user": {"USERNAME": "<user>", "PASSWORD": "<password>"},
    "token": {"TOKEN": "<token>"},
    "nkey_seed": {"NKEY_SEED": "<seed-file>"},
    "creds": {"USER_CREDENTIALS": "<creds-file>"},
    "tls_ca": {"CERT_AUTHORITY": "<ca-file>"},
    "tls_cert": {"CLIENT_CERT": "<certificate-file>", "CLIENT_KEY": "<key-file>"},
    "tls_first": {"TLS_HANDSHAKE_FIRST": "on"},
}
"""Of what the sidecar needs to be taken at the server, what MinIO has in its place."""


def lines(listens: Mapping[str, str], ids: Sequence[str]) -> str:
    """Lines for the targets of these ids, under comments that say what they are for; to be pasted as they are.

    ``listens`` is that of a source over NATS.
    """
    return "\n".join([HEAD, SYNC, *(line for each in ids for line in _target(listens, each))])


def _target(listens: Mapping[str, str], name: str) -> list[str]:
    values = {"ENABLE": "on", "ADDRESS": listens["address"], "SUBJECT": listens["subject"]}
    values |= {key: "on" for key in ("JETSTREAM", "TLS") if listens[key.lower()] == "on"}
    for need in listens["needs"].split():
        values |= _NEEDS.get(need, {})
    if name != FAST:
        values["QUEUE_DIR"] = "<folder>"
    suffix = "" if name == "_" else f"_{name}"  # the id of the target that has no name
    return [f"MINIO_NOTIFY_NATS_{key}{suffix}={value}" for key, value in values.items()]
