"""A backfill of a newly arrived inventory by a running sidecar."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anyio import to_thread

from imgtag.config.configuration import Config
from imgtag.engine import JobParts
from imgtag.flow.daily_hours import DailyHours
from imgtag.flow.governor import Caps
from imgtag.jobs.backfill import Backfill, NamedObjects, Selection
from imgtag.jobs.candidates import Rejection
from imgtag.jobs.checkpoint import CheckpointFile
from imgtag.jobs.inventory import DoneInventories, open_inventory
from imgtag.jobs.neighbour import govern
from imgtag.jobs.standing import make_judge
from imgtag.service.scheduled_audit import CONCURRENCY
from imgtag.types.ref import Scope
from imgtag.types.result import COUNTS

MAX_LOGGED = 20
"""Rows that name no object and are logged."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScheduledBackfill:
    """Labels what the newest inventory below a prefix lists, unless that was done before."""

    config: Config
    parts: JobParts
    inventories: DoneInventories
    scope: Scope
    hours: DailyHours | None

    async def run(self) -> Mapping[str, Any]:
        """Which manifest was worked off, if there was a new one. Raises ImgtagError."""
        parts, config = self.parts, self.config
        manifest = await self.inventories.find_new_manifest(parts.store, self.scope)
        if manifest is None:
            return {}
        rejected = 0

        def reject(rejection: Rejection) -> None:
            nonlocal rejected
            rejected += 1
            if rejected <= MAX_LOGGED:
                log.warning("inventory_row_unusable", extra={"reason": str(rejection)})

        buckets = config.context().buckets
        inventory = await open_inventory(parts.store, manifest.ref, buckets=buckets, spool=config.state_dir)
        listed = NamedObjects(f"{inventory.source} {manifest.etag}", lambda: inventory.read(reject))
        file = CheckpointFile(config.state_dir / "backfill", {"site": parts.site, "inventory": listed.name})
        saved = await to_thread.run_sync(file.load)
        log.info("inventory_backfill_started", extra={"manifest": inventory.source, "resumed": saved is not None})
        async with govern(parts, Caps(concurrency=CONCURRENCY, hours=self.hours)) as governor:
            backfill = Backfill(parts=parts, judge=make_judge(parts), selection=Selection(), gate=governor)
            await backfill.run([listed], file, backfill.resume(saved))
        await self.inventories.mark_done(manifest)
        counts = {name: getattr(backfill.progress, name) for name in ("listed", *COUNTS)}
        log.info("inventory_backfill_finished", extra={"manifest": inventory.source, **counts, "rejected": rejected})
        return {"manifest": inventory.source}
