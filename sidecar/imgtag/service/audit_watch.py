"""Shows as metrics what the last audit found, whoever made it: `imgtag audit` here, or a sidecar of the site."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
from anyio import to_thread

from imgtag.errors import ImgtagError
from imgtag.jobs.audit_record import AuditRecord
from imgtag.jobs.job_record import read_fields
from imgtag.ops.metrics import Metrics
from imgtag.plugin.source import RecordKeeper
from imgtag.service.schedule import AUDIT

PERIOD = 30.0
"""Seconds between two looks at its records."""


async def show_audits(folder: Path, shared: RecordKeeper | None, metrics: Metrics) -> None:
    """Look at the record in the state folder and at the one that sidecars share, until cancelled."""
    while True:
        records = [await to_thread.run_sync(AuditRecord.load, folder)]
        if shared:
            with suppress(ImgtagError):  # that the source does not answer, others say
                records.append(AuditRecord.parse(await read_fields(shared, AUDIT)))
        if newest := max(filter(None, records), key=lambda record: record.at, default=None):
            metrics.show_audit(newest.at, newest.findings)
        await anyio.sleep(PERIOD)
