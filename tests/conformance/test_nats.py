"""The source over NATS passes the suite. (Plain NATS promises less than the suite asks for.)"""

from uuid import uuid4

import pytest

from imgtag.plugin.spec import PluginContext
from imgtag.testing.conformance import SourceConformance, SourceUser
from imgtag_nats import SPEC
from integration.conftest import *  # noqa: F403 - the servers
from integration.nats.publishing import client, notification


class NatsUser(SourceUser):
    """Publishes what a store would."""

    bucket = "photos"

    def __init__(self, connect, url, subject):
        self._connect = connect
        self._url = url
        self._subject = subject
        self._ready = False

    async def change(self, key):
        await self._publish(notification(self.bucket, key))

    async def remove(self, key):
        await self._publish(notification(self.bucket, key, "s3:ObjectRemoved:Delete"))
        return True

    async def _publish(self, data):
        if not self._ready:
            async with self._connect() as source:
                await source.setup(apply=True)
            self._ready = True
        async with client(self._url) as connection:
            await connection.jetstream().publish(self._subject, data)


class TestNatsSource(SourceConformance):
    @pytest.fixture
    def site(self):
        return f"site-{uuid4().hex[:8]}"

    @pytest.fixture
    def connect(self, nats, site, tmp_path):
        context = PluginContext(site=site, state_dir=tmp_path, buckets=("photos",))
        settings = SPEC.settings(url=nats.url, ack_wait=1)
        return lambda: SPEC.load()(settings, context)

    @pytest.fixture
    def user(self, connect, nats, site):
        return NatsUser(connect, nats.url, f"imgtag.{site}.events")
