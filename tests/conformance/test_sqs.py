"""The source over SQS passes the suite, on ElasticMQ. (Sources from which nothing can be searched pass it slowly.)"""

from uuid import uuid4

import pytest
from anyio import to_thread

from imgtag.plugin.spec import PluginContext
from imgtag.testing.conformance import SourceConformance, SourceUser
from imgtag.types.ref import ObjectRef
from imgtag_sqs import SPEC
from integration.sqs.conftest import *  # noqa: F403 - the server
from integration.sqs.events import event


class QueueUser(SourceUser):
    """Sends what a store would."""

    bucket = "photos"

    def __init__(self, connect, server, queue):
        self._connect = connect
        self._server = server
        self._queue = queue
        self._ready = False

    async def change(self, key):
        await self._send(event(self.bucket, key))

    async def remove(self, key):
        await self._send(event(self.bucket, key, "ObjectRemoved:Delete"))
        return True

    async def _send(self, body):
        if not self._ready:
            async with self._connect() as source:
                await source.setup(apply=True)
            self._ready = True
        await to_thread.run_sync(self._server.send, self._queue, body)


class TestSqsSource(SourceConformance):
    @pytest.fixture
    def site(self):
        return f"site-{uuid4().hex[:8]}"

    @pytest.fixture
    def connect(self, elasticmq, site, tmp_path, monkeypatch):
        monkeypatch.setattr("imgtag_sqs.dead_letters.SCAN_WAIT", 0)  # one server has all messages
        context = PluginContext(site=site, state_dir=tmp_path, buckets=("photos",))
        settings = SPEC.settings(**elasticmq.settings, ack_wait=2, wait=1, park=1)
        return lambda: SPEC.load()(settings, context)

    @pytest.fixture
    def occur(self, user):
        """One reason is enough: notifications and hints are messages of one queue, and most tests wait for SQS."""

        async def occur(source, key):
            await user.change(key)
            return ObjectRef(user.bucket, key)

        return occur

    @pytest.fixture
    def user(self, connect, elasticmq, site):
        return QueueUser(connect, elasticmq, f"imgtag-{site}")
