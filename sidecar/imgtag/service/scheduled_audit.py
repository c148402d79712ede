"""An audit of everything by a running sidecar."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import anyio
from anyio import to_thread

from imgtag.config.configuration import Config
from imgtag.engine import JobParts
from imgtag.flow.daily_hours import DailyHours
from imgtag.flow.governor import Caps
from imgtag.jobs.audit import Audit, Finding, Spool, find_scopes
from imgtag.jobs.audit_record import AuditRecord
from imgtag.jobs.neighbour import govern
from imgtag.jobs.standing import make_judge

CONCURRENCY = 4
"""Objects in work at once: scheduled work is never in a hurry, and it shares the workers with live work."""
SETTLE = 20.0
"""Seconds after which what was found is looked at once more: an image that was in work at that moment is done then."""
MAX_LOGGED = 100
"""Findings that are logged one by one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScheduledAudit:
    """Compares everything, and mends it if the configuration says so."""

    config: Config
    parts: JobParts
    hours: DailyHours | None

    async def run(self) -> Mapping[str, Any]:
        """What was found. Raises ImgtagError."""
        parts, config, logged = self.parts, self.config, 0

        def show(finding: Finding) -> None:
            nonlocal logged
            logged += 1
            if logged <= MAX_LOGGED:
                where = {"bucket": finding.ref.bucket, "key": finding.ref.key}
                log.info("audit_finding", extra={**where, "kind": finding.kind, "reason": finding.reason})

        buckets = config.context().buckets or await parts.store.buckets()
        async with govern(parts, Caps(concurrency=CONCURRENCY, hours=self.hours)) as governor:
            with Spool(config.state_dir) as spool:
                audit = Audit(
                    parts=parts, judge=make_judge(parts), gate=governor, buckets=frozenset(buckets), spool=spool
                )
                await audit.compare(await find_scopes(parts, buckets, has_rules=bool(config.rules)))
                if not audit.counts.is_clean:
                    await anyio.sleep(SETTLE)
                    audit.show = show
                    await audit.compare_again()
                if config.audit.repair and audit.deletes_many:
                    reason = f"it would delete {audit.counts.orphaned:,} of {audit.documents:,} documents"
                    hint = "Is this the right store, and are the rules right? If so: imgtag audit --repair"
                    log.warning("audit_repair_refused", extra={"reason": reason, "hint": hint})
                elif config.audit.repair and not audit.counts.is_clean:
                    await audit.repair()
        record = AuditRecord(at=time.time(), findings=audit.counts.findings)
        objects, repaired = audit.counts.objects, audit.repaired
        log.info("audit_finished", extra={"objects": objects, "repaired": repaired, "findings": dict(record.findings)})
        if not audit.counts.is_clean:
            hint = "`imgtag audit` lists all of them, `imgtag audit --repair` mends them."
            log.warning("audit_found_differences", extra={"findings": dict(record.findings), "hint": hint})
        parts.metrics.show_audit(record.at, record.findings)
        await to_thread.run_sync(record.save, config.state_dir)
        return record.as_dict()
