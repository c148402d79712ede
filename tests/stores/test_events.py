"""The events of versitygw are read by the NATS source."""

import pytest
from anyio import fail_after, to_thread
from nats import connect

from imgtag.plugin.notifications import parse
from imgtag.types.ref import ObjectRef
from imgtag_s3 import SPEC
from integration.s3.bucket import Bucket
from servers.nats import NatsServer
from servers.s3_client import S3Client
from servers.stores import SCRIPT, Versitygw, is_installed

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not is_installed(Versitygw), reason="python scripts/servers.py install versitygw"),
]
KEYS = ("a.jpg", "with space+plus.jpg", "100%/%41.jpg", "\u00fcber/\U0001f98a.jpg")


async def test_events_name_the_keys(tmp_path):
    """Each upload and deletion brings a hint with the exact key, whatever is in it."""
    path = SCRIPT["find"]("nats-server")
    if path is None:
        pytest.skip("nats-server is not installed: python scripts/servers.py install nats-server")
    refs = []
    with (
        NatsServer(path, tmp_path / "nats") as nats,
        Versitygw.notifying(SCRIPT["find"]("versitygw"), tmp_path / "server", nats, "events") as server,
    ):
        bucket = Bucket(S3Client(SPEC.settings(**server.settings)), "photos")
        connection = await connect(nats.url)
        subscription = await connection.subscribe("events")
        await connection.flush()

        def act():
            bucket.make()
            for key in KEYS:
                bucket.put(key, b"bytes")
                bucket.delete(key)

        await to_thread.run_sync(act)
        with fail_after(20):
            while len(refs) < 2 * len(KEYS):
                refs += [hint.ref for hint in parse((await subscription.next_msg(timeout=20)).data).hints]
        await connection.close()

    assert sorted(refs, key=str) == sorted([ObjectRef("photos", key) for key in KEYS] * 2, key=str)
