"""Scheduled work: by one sidecar, when it is due, never in the way of anything else."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import anyio
import pytest

from imgtag.errors import Unavailable
from imgtag.flow.daily_hours import DailyHours
from imgtag.jobs.job_record import read_fields, update_fields
from imgtag.jobs.lease import Lease
from imgtag.ops.metrics import Metrics
from imgtag.service.schedule import Schedule, ScheduledJob
from imgtag.testing.broker import MemoryBroker
from imgtag.testing.source import MemorySource

pytestmark = pytest.mark.anyio

DAY = 86_400.0


class Sidecar:
    """One of a site, with a schedule of one job, which takes ``seconds`` and is due each ``every``."""

    def __init__(self, broker: MemoryBroker, *, every: float = DAY, seconds: float = 0.0, hours=None) -> None:
        self.source, self.metrics, self.stop = MemorySource(broker), Metrics(), anyio.Event()
        self.begun = 0
        self.error: Exception | None = None
        self._seconds = seconds
        job = ScheduledJob(name="audit", every=every, work=self.work, hours=hours)
        lease = Lease(records=self.source, seconds=0.6, renewal_period=0.1)
        records = self.source
        self.schedule = Schedule(records=records, jobs=[job], metrics=self.metrics, lease=lease, look_period=0.05)

    async def work(self):
        self.begun += 1
        await anyio.sleep(self._seconds)
        if self.error:
            raise self.error
        return {"findings": {"missing": self.begun}}

    async def run(self) -> None:
        await self.schedule.run(self.stop)

    def count(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("imgtag_jobs_total", {"name": "audit", "result": result})


async def wait_until(holds) -> None:
    with anyio.fail_after(15):
        while not holds():
            await anyio.sleep(0.01)


async def test_one_sidecar_does_it_once():
    """Of two, while it is not due again; what it found is a record for both."""
    broker = MemoryBroker()
    both = [Sidecar(broker, seconds=0.3), Sidecar(broker, seconds=0.3)]
    async with anyio.create_task_group() as tasks:
        for sidecar in both:
            tasks.start_soon(sidecar.run)
        await wait_until(lambda: "audit" in broker.records)
        await anyio.sleep(0.3)
        for sidecar in both:
            sidecar.stop.set()
    assert 1 == sum(sidecar.begun for sidecar in both)
    assert 1 == sum(sidecar.count("done") for sidecar in both)
    assert {"missing": 1} == (await read_fields(both[0].source, "audit"))["findings"]


async def test_a_sidecar_that_is_gone_is_replaced():
    """The other one begins anew; one that stops in good order leaves the lease at once."""
    broker = MemoryBroker()
    first, second = Sidecar(broker, seconds=60), Sidecar(broker)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.run)
        await wait_until(lambda: first.begun)
        tasks.start_soon(second.run)
        await anyio.sleep(0.2)
        assert 0 == second.begun
        first.stop.set()
        await wait_until(lambda: second.count("done"))
        second.stop.set()
    assert 1 == first.count("stopped")
    assert 0 == first.count("done")


async def test_it_is_done_again_when_it_is_due():
    """And not because a clock was wrong when it was done last."""
    broker = MemoryBroker()
    sidecar = Sidecar(broker)
    await update_fields(sidecar.source, "audit", {"ended": time.time() - DAY + 60, "failed": ""})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sidecar.run)
        await anyio.sleep(0.2)
        assert 0 == sidecar.begun
        await update_fields(sidecar.source, "audit", {"ended": time.time() - DAY - 60})
        await wait_until(lambda: 1 == sidecar.count("done"))
        await update_fields(sidecar.source, "audit", {"ended": time.time() + 1000 * DAY})
        await wait_until(lambda: 2 == sidecar.count("done"))
        await update_fields(sidecar.source, "audit", {"ended": "yesterday"})
        await wait_until(lambda: 3 == sidecar.count("done"))
        sidecar.stop.set()


async def test_only_within_its_hours():
    """Neither due nor free keeps it from waiting for them."""
    now = datetime.now()  # noqa: DTZ005  (hours are in local time)
    closed = DailyHours((now + timedelta(hours=2)).time(), (now + timedelta(hours=3)).time())
    sidecar = Sidecar(MemoryBroker(), hours=closed)
    with anyio.move_on_after(0.3):
        await sidecar.run()
    assert 0 == sidecar.begun


@pytest.mark.parametrize("error", [Unavailable("no index", hint="Start it."), OSError("disk full"), KeyError("x")])
async def test_a_failure_is_reported_and_remembered(error, caplog):
    """Whatever it is, the schedule lives on; the record says so, and keeps what was found before."""
    broker = MemoryBroker()
    sidecar = Sidecar(broker)
    sidecar.error = ExceptionGroup("from within", [error])
    await update_fields(sidecar.source, "audit", {"findings": {"missing": 7}})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sidecar.run)
        await wait_until(lambda: sidecar.count("failed"))
        await anyio.sleep(0.2)
        assert 1 == sidecar.begun, "it is not tried again at once"
        sidecar.stop.set()
    assert "scheduled_job_failed" in caplog.messages
    record = await read_fields(sidecar.source, "audit")
    assert {"missing": 7} == record["findings"]
    assert record["failed"]


async def test_a_source_that_is_away_is_waited_for(caplog):
    """It is said once, and the work begins when it is back."""
    sidecar = Sidecar(MemoryBroker())
    sidecar.source.faults.fail(Unavailable("no permission"), on="write_record", times=5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sidecar.run)
        await wait_until(lambda: sidecar.count("done"))
        sidecar.stop.set()
    assert 1 == caplog.messages.count("schedule_unavailable")
