"""What the services in memory have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from imgtag.errors import ImgtagError
from imgtag.plugin.service import Change, Check
from imgtag.testing.faults import Faults


class MemoryService:
    """Needs no server, no setup and no privilege; fails as ``faults`` says."""

    def __init__(self) -> None:
        self.faults = Faults()

    async def __aenter__(self) -> Self:
        await self.faults.meet("enter")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def checks(self) -> AsyncIterator[Check]:
        """Whether a failure is planned."""
        try:
            await self.faults.meet("checks")
        except ImgtagError as error:
            yield Check(check="memory", ok=False, message=error.message, hint=error.hint or "Call faults.mend().")
        else:
            yield Check(check="memory", ok=True, message="kept in memory")

    async def setup(self, *, apply: bool) -> Sequence[Change]:  # noqa: ARG002
        """Nothing is needed."""
        await self.faults.meet("setup")
        return ()

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:  # noqa: ARG002
        """Nothing was made."""
        await self.faults.meet("undo", record)
        return None

    def policy(self) -> str | None:
        """Memory has none."""
        return None
