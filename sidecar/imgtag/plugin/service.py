"""What every plugin of the main process does besides its work."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding of ``imgtag doctor``; a failed one has a hint."""

    check: str
    ok: bool
    message: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that ``setup`` created or would create, or that ``undo`` removed or would remove.

    ``hint`` is set where it cannot be done, or had better not be done: why, and what a person can do. ``undo`` is what
    removing it needs: JSON without secrets, which says where it was created; None where it goes with another change.
    """

    what: str
    done: bool = False
    hint: str = ""
    undo: Mapping[str, Any] | None = None


class Service(Protocol):
    """An async context manager in the main process.

    Entering connects, and raises Unavailable where nothing answers. No method blocks the event loop. Other methods
    are called between entering and leaving; ``policy`` also after entering has failed.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def checks(self) -> AsyncIterator[Check]:
        """Look at what the plugin depends on; yields at least one finding and raises nothing.

        ``imgtag doctor`` enters the plugin first; where that fails, it reports the error instead.
        """
        ...

    async def setup(self, *, apply: bool) -> Sequence[Change]:
        """Create what is missing on the server, or with ``apply=False`` only list it.

        The ``undo`` of a change that is only listed must also work for one that was interrupted.
        """
        ...

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Remove one thing that setup created, or with ``apply=False`` only describe that.

        ``record`` is the ``undo`` of its change. None where the thing does not exist (any more), or has been replaced
        by another. What somebody has changed since is left alone, and the change has a hint. Raises ConfigError where
        it was created on another server than the settings name.
        """
        ...

    def policy(self) -> str | None:
        """The least privilege that the plugin needs, in the form that its server reads; None where there is none."""
        ...


class PolicyExtender(Protocol):
    """What a plugin may have besides, where some commands need more permissions than a sidecar does."""

    def policy_with(self, commands: Collection[str]) -> str | None:
        """As ``policy``, with what these commands need: `plan`, `reindex`, `setup`."""
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
