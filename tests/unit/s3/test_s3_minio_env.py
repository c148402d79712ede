"""The lines of a MinIO's environment."""

import pytest

from imgtag_s3.minio_env import environment_lines

LISTENS = {
    "kind": "nats", "address": "h:1", "subject": "s", "jetstream": "off", "tls": "off", "needs": "tls_first unheard-of",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FAST", ["ENABLE_FAST=on", "ADDRESS_FAST=h:1", "SUBJECT_FAST=s", "TLS_HANDSHAKE_FIRST_FAST=on"]),
        ("_", ["ENABLE=on", "ADDRESS=h:1", "SUBJECT=s", "TLS_HANDSHAKE_FIRST=on", "QUEUE_DIR=<folder>"]),
    ],
)
def test_lines_of_a_target(name, expected):
    """What is off is left out, and so is what nobody here has heard of; one target of MinIO has no suffix."""
    told = [line for line in environment_lines(LISTENS, [name]).splitlines() if not line.startswith("#")]

    assert ["MINIO_SYNC_BOOT=on", *(f"MINIO_NOTIFY_NATS_{line}" for line in expected)] == told


def test_everything_can_be_pasted():
    """What is for people stands in comments: why there are two, and what to do then."""
    text = environment_lines(LISTENS, ["FAST", "SAFE"])

    assert all(line.startswith(("#", "MINIO_")) and len(line) < 120 for line in text.splitlines())
    assert "restart MinIO, run setup again" in text
    assert "Two targets" in text
