"""The record of the last audit, which a running sidecar shows as metrics."""

import anyio
import pytest

from imgtag.jobs.audit_record import FILE, AuditRecord
from imgtag.jobs.job_record import update_fields
from imgtag.ops.metrics import Metrics
from imgtag.service.audit_watch import show_audits
from imgtag.service.schedule import AUDIT
from imgtag.testing.source import MemorySource

RECORD = AuditRecord(at=1_700_000_000.0, findings={"missing": 2, "orphaned": 0, "differing": 1})


def test_it_is_read_as_it_was_saved(tmp_path):
    """The newest one takes the place of the last."""
    assert AuditRecord.load(tmp_path) is None
    AuditRecord(at=1.0, findings={}).save(tmp_path)
    RECORD.save(tmp_path)
    assert RECORD == AuditRecord.load(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"at": "x", "findings": {}}', '{"at": 1, "findings": []}'])
def test_what_cannot_be_read_is_none(tmp_path, content):
    """A damaged file ends no sidecar."""
    (tmp_path / FILE).write_text(content)
    assert AuditRecord.load(tmp_path) is None


@pytest.mark.anyio
@pytest.mark.parametrize("shared_at", [RECORD.at - 60, RECORD.at + 60], ids=["here", "elsewhere"])
async def test_the_newest_is_shown_as_metrics(tmp_path, shared_at):
    """Findings by kind, and when it ended: of an audit here, or of one by another sidecar of the site."""
    shared = AuditRecord(at=shared_at, findings={"missing": 7})
    newest = max(RECORD, shared, key=lambda record: record.at)
    await anyio.to_thread.run_sync(RECORD.save, tmp_path)
    source, metrics = MemorySource(), Metrics()
    await update_fields(source, AUDIT, {**shared.as_dict(), "ended": shared_at, "failed": ""})
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(show_audits, tmp_path, source, metrics)
        with anyio.fail_after(10):
            while not metrics.registry.get_sample_value("imgtag_audit_last_success_timestamp_seconds"):
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel("shown")
    assert newest.at == metrics.registry.get_sample_value("imgtag_audit_last_success_timestamp_seconds")
    shown = {
        kind: metrics.registry.get_sample_value("imgtag_audit_findings", {"kind": kind}) for kind in newest.findings
    }
    assert newest.findings == shown
