"""Shows as metrics what the last `imgtag audit` found."""

from __future__ import annotations

from pathlib import Path

import anyio
from anyio import to_thread

from imgtag.jobs.audit_record import AuditRecord
from imgtag.ops.metrics import Metrics

PERIOD = 30.0
"""Seconds between two looks at its record."""


async def show_audits(folder: Path, metrics: Metrics) -> None:
    """Look at the record in the state folder, until cancelled."""
    while True:
        if record := await to_thread.run_sync(AuditRecord.load, folder):
            metrics.show_audit(record.at, record.findings)
        await anyio.sleep(PERIOD)
