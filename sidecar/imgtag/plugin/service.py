"""What every plugin of the main process can do besides its work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True, kw_only=True)
class Check:
    """One answer of ``imgtag doctor``; a failed one has a hint."""

    check: str
    ok: bool
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that ``setup`` made, or would make."""

    what: str
    done: bool = False


class Service(Protocol):
    """An async context manager that lives in the main process.

    Entering connects, and raises Unavailable where nothing answers. No method blocks the event loop.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def checks(self) -> AsyncIterator[Check]:
        """Look at what the plugin depends on; yields findings and raises nothing."""
        ...

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Make what is missing on the other side, or only say what would be made."""
        ...

    def policy(self) -> str | None:
        """The least privilege that the plugin needs, in the form that its server reads."""
        ...
