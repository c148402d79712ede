"""What stores send to a queue."""

import json
from urllib.parse import quote


def event(bucket, key, name="ObjectCreated:Put"):
    """One event of AWS, whose keys are encoded except for their slashes."""
    thing = {"key": quote(key).replace("%20", "+"), "size": 3, "eTag": "900150983cd24fb0d6963f7d28e17f72"}
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2025-10-20T12:34:56.789Z",
        "eventName": name,
        "s3": {"configurationId": "imgtag", "bucket": {"name": bucket}, "object": thing | {"sequencer": "0055AED6"}},
    }
    return json.dumps({"Records": [record]})
