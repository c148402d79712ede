"""The lines for MinIO's environment."""

import pytest

from imgtag.plugin import NotificationTarget
from imgtag_s3.minio_env import environment_lines

TARGET = NotificationTarget(kind="nats", address="h:1", subject="s", needs=("tls_first", "unheard-of"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FAST", ["ENABLE_FAST=on", "ADDRESS_FAST=h:1", "SUBJECT_FAST=s", "TLS_HANDSHAKE_FIRST_FAST=on"]),
        ("_", ["ENABLE=on", "ADDRESS=h:1", "SUBJECT=s", "TLS_HANDSHAKE_FIRST=on", "QUEUE_DIR=<folder>"]),
    ],
)
def test_lines_of_a_target(name, expected):
    """What is off is left out, and so is an unknown need; one target of MinIO has no suffix."""
    lines = [line for line in environment_lines(TARGET, [name]).splitlines() if not line.startswith("#")]

    assert ["MINIO_SYNC_BOOT=on", *(f"MINIO_NOTIFY_NATS_{line}" for line in expected)] == lines


def test_everything_can_be_pasted():
    """Explanations are comments: why there are two targets, and what to do next."""
    text = environment_lines(TARGET, ["FAST", "SAFE"])

    assert all(line.startswith(("#", "MINIO_")) and len(line) < 120 for line in text.splitlines())
    assert "restart MinIO, run setup again" in text
    assert "Two targets" in text


@pytest.mark.parametrize("needs", [(), ("token",)])
def test_lines_of_a_webhook(needs):
    """One target, durable, with the token where the sidecar asks for one."""
    target = NotificationTarget(kind="webhook", address="http://127.0.0.1:9465/", needs=needs)
    text = environment_lines(target, ["IMGTAG"])
    names = ("ENABLE", "ENDPOINT", *(["AUTH_TOKEN"] if needs else []), "QUEUE_DIR")
    lines = [line.partition("=")[0] for line in text.splitlines() if not line.startswith("#")]

    assert lines == ["MINIO_SYNC_BOOT", *(f"MINIO_NOTIFY_WEBHOOK_{name}_IMGTAG" for name in names)]
    assert "ENDPOINT_IMGTAG=http://127.0.0.1:9465/" in text
    assert all(len(line) < 120 for line in text.splitlines())
