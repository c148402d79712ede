"""Uploads and deletions at the same time as our write, on every server that has versions: the user always wins.

Also because nothing is written where the user could lose: that is what the plugin finds out about versitygw.
"""

import os
import time
from contextlib import closing, nullcontext, suppress
from threading import Thread
from uuid import uuid4

import pytest
from anyio.from_thread import start_blocking_portal

from imgtag.errors import Conflict, WriteRefused
from imgtag.plugin.spec import PluginContext
from imgtag.types.metadata import MARK
from imgtag_s3 import SPEC
from integration.s3.bucket import Bucket
from integration.s3.portal import LABELS, PortalStore, mark
from servers.s3_client import S3Client
from servers.stores import Minio, Versitygw

TRIES = int(os.environ.get("IMGTAG_RACES", "15"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(params=[Minio, Versitygw], ids=lambda kind: kind.name)
def running(request, start):
    return start(request.param)


@pytest.mark.parametrize("deleted", [False, True], ids=["overwritten", "deleted"])
def test_nothing_is_lost_or_hidden_for_good(running, tmp_path, deleted):
    """With versions, after the look that the event brings, the upload or deletion is what is there."""
    settings = SPEC.settings(**running.settings)
    context = PluginContext(site="home", state_dir=tmp_path)
    with closing(S3Client(settings)) as client, start_blocking_portal() as portal:
        bucket = Bucket(client, f"races-{uuid4().hex[:12]}")
        bucket.make()
        bucket.set_versioning("Enabled")
        with portal.wrap_async_context_manager(SPEC.load()(settings, context)) as entered:
            store = PortalStore(portal, entered)
            for number in range(TRIES):
                key, old, new = f"{number}.jpg", os.urandom(100_000), os.urandom(100_000)
                bucket.put(key, old)
                act = (
                    (lambda key=key: bucket.delete(key)) if deleted else (lambda key=key, new=new: bucket.put(key, new))
                )
                _race(store, bucket, key, old, act, number / TRIES * 0.02 - 0.002)

                state = store.stat(bucket, key)
                assert deleted == (state is None)
                with pytest.raises(Exception, match="NoSuchKey") if deleted else nullcontext():
                    assert bucket.get(key) == new


def _race(store, bucket, key, old, act, delay):
    """Our write, and what another client does ``delay`` seconds after it begins, or before."""
    state, data = store.look(bucket, key, read_ahead=len(old))
    rival = Thread(target=lambda: (time.sleep(max(0.0, delay)), act()))
    rival.start()
    time.sleep(max(0.0, -delay))
    with suppress(Conflict, WriteRefused):
        store.rewrite(state, {**state.metadata, **LABELS, MARK: mark(state, data)}, data)
    rival.join()
