"""Records that the sidecars of a site share, in a stream of their own: one subject for each, with its newest message.

JetStream's key-value buckets are streams of this kind. A stream of our own makes do with fewer permissions than their
API asks for. https://docs.nats.io/nats-concepts/jetstream/key-value-store
"""

from __future__ import annotations

from base64 import b64decode

from imgtag.plugin import SharedRecord
from imgtag_nats.errors import NOT_FOUND, WRONG_LAST_SEQUENCE, JetStreamError
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names
from imgtag_nats.setup import Topology


class StreamRecords:
    """A revision is a sequence number of the stream, by which the server refuses all but one of several writers."""

    def __init__(self, jetstream: JetStream, names: Names, topology: Topology) -> None:
        self._jetstream = jetstream
        self._names = names
        self._topology = topology

    async def read(self, name: str) -> SharedRecord:
        """The record, from the leader of the stream. Raises Unavailable."""
        message = await self._jetstream.read_last(self._names.record_stream, f"{self._names.records}.{name}")
        if message is None:
            return SharedRecord()
        return SharedRecord(data=b64decode(message.get("data", "")), revision=message["seq"])

    async def write(self, name: str, data: bytes, revision: int) -> bool:
        """Write the record if it still has this revision; a missing stream is created. Raises Unavailable."""
        subject = f"{self._names.records}.{name}"
        try:
            try:
                await self._jetstream.publish(subject, data, last_sequence=revision)
            except JetStreamError as error:
                if error.status != NOT_FOUND:
                    raise
                await self._topology.apply(await self._topology.plan_records())
                await self._jetstream.publish(subject, data, last_sequence=revision)
        except JetStreamError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                return False
            raise
        return True
