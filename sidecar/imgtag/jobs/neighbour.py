"""Bulk work beside a running sidecar: it goes first, and so does everybody else's work."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio

from imgtag.engine import JobParts
from imgtag.errors import ImgtagError
from imgtag.flow.governor import Caps, Governor
from imgtag.ops.pressure import MachinePressure, PressureLimits
from imgtag.plugin.source import Source

LOOK_PERIOD = 1.0
"""Seconds between two questions to the source how much waits there."""
MIN_BACKLOG = 50
"""Messages that wait before live work counts as waiting; the events of the job's own writes wait there too."""
MAX_SILENCE = 30.0
"""Seconds without a message taken after which no sidecar runs that the job could hinder."""


@dataclass
class LiveWork:
    """Whether a running sidecar has more to do than it gets done."""

    source: Source
    is_waiting: bool = field(default=False, init=False)

    async def watch(self) -> None:
        """Look every second, until cancelled."""
        last, taken_at = 0, -MAX_SILENCE
        while True:
            backlog = None
            with suppress(ImgtagError):  # it is then not known
                backlog = await self.source.backlog()
            now = anyio.current_time()
            if backlog is not None and backlog < last:
                taken_at = now
            last = backlog or 0
            self.is_waiting = last >= MIN_BACKLOG and now - taken_at < MAX_SILENCE
            await anyio.sleep(LOOK_PERIOD)


@asynccontextmanager
async def govern(parts: JobParts, caps: Caps) -> AsyncIterator[Governor]:
    """A governor that watches the store, the machine, and live work."""
    live, metrics, ours = LiveWork(parts.source), parts.metrics, object()
    # The scheduler shares out processors, and bulk work has a low priority: its own workers, which keep every core
    # busy, would look like pressure.
    machine = MachinePressure(PressureLimits(cpu=math.inf, load=math.inf))
    governor = Governor(
        caps,
        pressure=machine,
        polite_share=lambda: machine.polite_share,
        is_live_waiting=lambda: live.is_waiting,
        report=lambda state: metrics.show_bulk(ours, state),
    )
    metrics.listen("inspect", governor.observe)
    try:
        async with anyio.create_task_group() as beside:
            beside.start_soon(live.watch)
            beside.start_soon(governor.run)
            yield governor
            beside.cancel_scope.cancel("done")
    finally:
        # In a running sidecar the metrics outlive the job.
        metrics.stop_listening("inspect", governor.observe)
        metrics.show_bulk(ours, governor.state)
        metrics.show_bulk(ours, None)


class FullSpeed:
    """A gate that gives way to nobody: ``count`` objects at once."""

    def __init__(self, count: int) -> None:
        self.slots = count
        self._slots = anyio.Semaphore(count, fast_acquire=True)

    @asynccontextmanager
    async def admit(self, size: int = 0) -> AsyncIterator[None]:  # noqa: ARG002
        """Wait for a slot; the block is the work."""
        async with self._slots:
            yield
