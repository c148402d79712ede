"""Work on a schedule: one piece at a time, by one sidecar of a site.

Every sidecar looks whether something is due; the one that gets the lease does it. When it was last done is a record
that all of them see, so nothing is done twice because another sidecar takes over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio

from imgtag.config.configuration import Config
from imgtag.engine import Services, make_job_parts
from imgtag.errors import ImgtagError
from imgtag.flow.backoff import until_answered
from imgtag.flow.daily_hours import DailyHours
from imgtag.jobs.inventory import DoneInventories
from imgtag.jobs.job_record import read_fields, update_fields
from imgtag.jobs.lease import Lease
from imgtag.ops.metrics import Metrics
from imgtag.pipeline import Pipeline
from imgtag.plugin.source import RecordKeeper
from imgtag.service.scheduled_audit import ScheduledAudit
from imgtag.service.scheduled_backfill import ScheduledBackfill
from imgtag.types.ref import Scope

AUDIT, INVENTORY = "audit", "inventory"
"""Jobs, and their records."""
LOOK_PERIOD = 5.0
"""Seconds between two looks whether something is due; each is a small request for each job."""
RETRY_PERIOD = 900.0
"""Seconds until a job that failed is tried again, unless it is due earlier."""
RESULTS = ("done", "failed", "stopped")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScheduledJob:
    """What is done ``every`` so many seconds, within the ``hours``; ``work`` returns what its record keeps of it."""

    name: str
    every: float
    work: Callable[[], Awaitable[Mapping[str, Any]]]
    hours: DailyHours | None = None


@dataclass(kw_only=True)
class Schedule:
    """Does each job when it is due, for as long as it runs. A job that fails never harms live work."""

    records: RecordKeeper
    jobs: Sequence[ScheduledJob]
    metrics: Metrics
    lease: Lease
    look_period: float = LOOK_PERIOD
    _trouble: str = field(default="", init=False)

    async def run(self, stop: anyio.Event) -> None:
        """Look and work until ``stop``, which ends a job at once."""
        for job in self.jobs:
            self.metrics.job_running.labels(job.name).set(0)
            for result in RESULTS:  # a rate needs the zero before the first
                self.metrics.jobs.labels(job.name, result)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_forever)
            await stop.wait()
            tasks.cancel_scope.cancel("stop")

    async def _look_forever(self) -> None:
        while True:
            for job in self.jobs:
                try:
                    if await self._is_due(job) and await self.lease.try_acquire():
                        await self.lease.work(partial(self._work, job))
                    self._trouble = ""
                except ImgtagError as error:
                    if error.message != self._trouble:
                        facts = {"job": job.name, "reason": error.message, "hint": error.hint}
                        log.warning("schedule_unavailable", extra=facts)
                    self._trouble = error.message
            await anyio.sleep(self.look_period)

    async def _is_due(self, job: ScheduledJob) -> bool:
        """Whether it is time, by the record that whoever did it last has left. Raises Unavailable."""
        now = time.time()
        if job.hours and job.hours.next_start(now) is not None:
            return False
        last = await read_fields(self.records, job.name)
        period = min(job.every, RETRY_PERIOD) if last.get("failed") else job.every
        ended = last.get("ended")
        # Without its sign: a record from a clock that was years ahead must not stop the job for years.
        return not isinstance(ended, int | float) or abs(now - ended) >= period

    async def _work(self, job: ScheduledJob) -> None:
        if not await self._is_due(job):
            return  # another sidecar has just done it
        log.info("scheduled_job_started", extra={"job": job.name})
        result = "stopped"
        self.metrics.job_running.labels(job.name).set(1)
        try:
            fields = {**await job.work(), "failed": ""}
            result = "done"
        except Exception as error:  # noqa: BLE001  (whatever it is, live work goes on)
            fields = {"failed": _report(job, error)}
            result = "failed"
        finally:
            self.metrics.job_running.labels(job.name).set(0)
            self.metrics.jobs.labels(job.name, result).inc()
            log.info("scheduled_job_ended", extra={"job": job.name, "result": result})
        await until_answered(lambda: update_fields(self.records, job.name, {"ended": time.time(), **fields}))


def _report(job: ScheduledJob, error: Exception) -> str:
    """Log why a job failed, and return it."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    reason = cause.message if isinstance(cause, ImgtagError) else f"{type(cause).__name__}: {cause}"
    facts = {"job": job.name, "reason": reason, "hint": cause.hint if isinstance(cause, ImgtagError) else ""}
    log.warning("scheduled_job_failed", exc_info=None if isinstance(cause, ImgtagError) else error, extra=facts)
    return reason


def make_schedule(config: Config, services: Services, pipeline: Pipeline) -> Schedule | None:
    """What the configuration wants done; None where that is nothing, or where the source keeps no records for it."""
    audit, backfill = config.audit, config.backfill
    records = services.source
    if not (audit.every or backfill.every):
        return None
    if not isinstance(records, RecordKeeper):
        reason = "this source keeps no records that sidecars share, so nothing says which one of them does the work"
        hint = "Use JetStream, or let a timer run `imgtag audit` and `imgtag backfill --new`."
        log.warning("schedule_unavailable", extra={"job": "", "reason": reason, "hint": hint})
        return None
    parts = make_job_parts(config, services, pipeline)
    jobs = []
    if audit.every:
        hours = DailyHours.parse(audit.hours) if audit.hours else None
        work = ScheduledAudit(config=config, parts=parts, hours=hours).run
        jobs.append(ScheduledJob(name=AUDIT, every=audit.every, hours=hours, work=work))
    if backfill.every and backfill.inventory:
        hours = DailyHours.parse(backfill.hours) if backfill.hours else None
        inventories, scope = DoneInventories(records), Scope.parse(backfill.inventory)
        look = ScheduledBackfill(config=config, parts=parts, inventories=inventories, scope=scope, hours=hours).run
        jobs.append(ScheduledJob(name=INVENTORY, every=backfill.every, hours=hours, work=look))
    return Schedule(records=records, jobs=jobs, metrics=parts.metrics, lease=Lease(records=records))
