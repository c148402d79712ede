"""What every plugin of the main process can do besides its work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self


@dataclass(frozen=True, kw_only=True)
class Check:
    """One answer of ``imgtag doctor``; a failed one has a hint."""

    check: str
    ok: bool
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that ``setup`` made or would make, or that ``undo`` took back or would take back.

    ``hint`` is set where it cannot be done, or is better not done: why, and what a person can do. ``undo`` is what
    taking it back needs: JSON without secrets, which says where it was made; None where it goes with another change.
    """

    what: str
    done: bool = False
    hint: str = ""
    undo: Mapping[str, Any] | None = None


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
        """Make what is missing on the other side, or only say what would be made.

        The ``undo`` of a change that is not made yet must do for one that was begun, too.
        """
        ...

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Take back one thing that setup made, or only say what would be taken back.

        ``record`` is the ``undo`` of its change. None where it is not there (any more), or is another one by now.
        What somebody has changed since is left as it is: the change has a hint then. Raises ConfigError where it
        was made on another server than the settings name.
        """
        ...

    def policy(self) -> str | None:
        """The least privilege that the plugin needs, in the form that its server reads."""
        ...


class ServiceBase:
    """A service that needs no connection, no setup and no permissions: override what your plugin does need.

    It leaves ``checks`` to you, because a plugin that checks nothing hides what is wrong.
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def setup(self, *, apply: bool) -> Sequence[Change]:  # noqa: ARG002
        """Nothing to create."""
        return ()

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:  # noqa: ARG002
        """Nothing was created."""
        return None

    def policy(self) -> str | None:
        """No permissions are needed."""
        return None
