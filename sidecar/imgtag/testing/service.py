"""What the services in memory have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

from imgtag.errors import ImgtagError
from imgtag.plugin.service import Change, Check, ServiceBase
from imgtag.testing.faults import Faults


class MemoryService(ServiceBase):
    """Needs no server, no setup and no permissions; fails as ``faults`` says."""

    def __init__(self) -> None:
        self.faults = Faults()

    async def __aenter__(self) -> Self:
        await self.faults.meet("enter")
        return self

    async def checks(self) -> AsyncIterator[Check]:
        """Report a planned failure."""
        try:
            await self.faults.meet("checks")
        except ImgtagError as error:
            yield Check(check="memory", ok=False, message=error.message, hint=error.hint or "Call faults.mend().")
        else:
            yield Check(check="memory", ok=True, message="kept in memory")

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        await self.faults.meet("setup")
        return await super().setup(apply=apply)

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        await self.faults.meet("undo", record)
        return await super().undo(record, apply=apply)
