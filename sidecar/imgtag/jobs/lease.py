"""The right to do scheduled work, which one process of a site has at a time.

It is a record on the source, which its holder writes every few seconds. Another process takes it when nobody has
written it for as long as it lasts, measured on its own clock since it saw it change: clocks need not agree.
https://pkg.go.dev/k8s.io/client-go/tools/leaderelection elects leaders in the same way.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

import anyio

from imgtag.errors import ImgtagError, Unavailable
from imgtag.plugin.source import RecordKeeper

LEASE_SECONDS = 15.0
"""How long a lease lasts that is not renewed."""
MAX_SECONDS = 600.0
"""What is believed of a record that says how long another process holds it."""
RENEWAL_PERIOD = 5.0
"""Seconds between two renewals."""
MAX_SILENCE = 2 / 3
"""Part of that time after which a holder that could not renew it stops its work: before anybody else begins."""
RELEASE_SECONDS = 2.0
"""How long a process that ends tries to give the lease back."""
NAME = "schedule"
"""The record of the lease for all scheduled work of a site, which is done one piece after the other."""

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Lease:
    """One process's view of a lease; ``holder`` names that process."""

    records: RecordKeeper
    name: str = NAME
    seconds: float = LEASE_SECONDS
    renewal_period: float = RENEWAL_PERIOD
    holder: str = field(default_factory=lambda: f"{socket.gethostname()}/{os.getpid()}/{uuid4().hex[:8]}")
    _seen: tuple[int, float] = field(default=(0, 0.0), init=False)
    """The newest revision, and when it was seen first."""
    _until: float = field(default=0.0, init=False)
    """Until when the work may go on without another renewal."""

    async def try_acquire(self) -> bool:
        """Take the lease, or renew it; whether we have it. Raises Unavailable."""
        record = await self.records.read_record(self.name)
        now = anyio.current_time()
        if record.revision != self._seen[0]:
            self._seen = record.revision, now
        holder, seconds = _decode(record.data)
        if holder not in {"", self.holder} and now < self._seen[1] + seconds:
            return False
        if not await self.records.write_record(self.name, self._encode(self.holder), record.revision):
            return False
        self._until = now + MAX_SILENCE * self.seconds
        return True

    async def acquire(self) -> None:
        """Take the lease as soon as nobody else has it. Raises Unavailable."""
        while not await self.try_acquire():  # noqa: ASYNC110  (another process has no event for us)
            await anyio.sleep(self.renewal_period)

    async def work(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do the work, for which `try_acquire` got the lease, and give it back; whether the work came to its end.

        It is cancelled where the lease is lost. Raises what the work raises.
        """
        is_done, failure = False, None
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep, tasks.cancel_scope)
                try:
                    await work()
                    is_done = True
                except Exception as error:  # noqa: BLE001  (raised below: out of here it would come in a group)
                    failure = error
                tasks.cancel_scope.cancel("ended")
        finally:
            with anyio.move_on_after(RELEASE_SECONDS, shield=True), suppress(ImgtagError):
                await self._release()
        if failure:
            raise failure
        return is_done

    async def _keep(self, work: anyio.CancelScope) -> None:
        """Renew the lease until cancelled; cancel the work when it is lost."""
        with anyio.CancelScope(deadline=self._until) as patience:
            while True:
                await anyio.sleep(self.renewal_period)
                try:
                    is_held = await self.try_acquire()
                except Unavailable:
                    continue
                if not is_held:
                    break
                patience.deadline = self._until
        log.warning(
            "lease_lost", extra={"lease": self.name, "reason": "scheduled work stops; another sidecar takes it"}
        )
        work.cancel("the lease is lost")

    async def _release(self) -> None:
        record = await self.records.read_record(self.name)
        if _decode(record.data)[0] == self.holder:
            await self.records.write_record(self.name, self._encode(""), record.revision)

    def _encode(self, holder: str) -> bytes:
        return json.dumps({"holder": holder, "seconds": self.seconds}).encode()


def _decode(data: bytes) -> tuple[str, float]:
    """Who holds the lease, and for how long; nobody where that cannot be read."""
    with suppress(ValueError, TypeError, KeyError):
        fields = json.loads(data)
        return str(fields["holder"]), min(float(fields["seconds"]), MAX_SECONDS)
    return "", 0.0
