"""Whoever publishes notifications, as a store does."""

import json
from contextlib import asynccontextmanager
from urllib.parse import quote_plus

import nats


def notification(bucket, key, event="s3:ObjectCreated:Put"):
    """What MinIO sends."""
    thing = {"key": quote_plus(key), "size": 3, "eTag": "900150983cd24fb0d6963f7d28e17f72", "sequencer": "186F"}
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventTime": "2025-10-20T12:34:56.789Z",
        "eventName": event,
        "s3": {"configurationId": "Config", "bucket": {"name": bucket}, "object": thing},
    }
    return json.dumps({"EventName": event, "Key": f"{bucket}/{key}", "Records": [record]}).encode()


@asynccontextmanager
async def client(url):
    """A plain connection."""
    connection = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        yield connection
    finally:
        await connection.close()
