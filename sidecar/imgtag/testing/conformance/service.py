"""What every plugin of the main process must do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pytest

from imgtag.plugin.service import Change, Check, Service

Connect: TypeAlias = Callable[[], Service]


class AsyncSuite:
    """Tests that run on asyncio in debug mode."""

    pytestmark = pytest.mark.anyio

    @pytest.fixture
    def anyio_backend(self) -> tuple[str, dict[str, Any]]:
        """The loop that the sidecar runs on."""
        return "asyncio", {"debug": True}


class ServiceConformance(AsyncSuite):
    """Checks, setup and policy; the suites of stores, sources and indexers bring these tests along."""

    @pytest.fixture
    def connect(self) -> Connect:
        """To be defined: makes a new instance over the same things, not entered yet."""
        pytest.fail("define the fixture `connect`")

    async def test_can_be_entered_again(self, connect: Connect) -> None:
        """A second instance enters where the first one has left."""
        for _ in range(2):
            async with connect() as service:
                assert service is not None

    async def test_checks_are_findings(self, connect: Connect) -> None:
        """Checks name what they look at and what they see; there is at least one, and a failed one has a hint."""
        async with connect() as service:
            checks = [check async for check in service.checks()]

        assert checks, "a plugin without checks hides what is wrong"
        assert all(isinstance(check, Check) and check.check and check.message for check in checks)
        assert all(check.ok or check.hint for check in checks)

    async def test_setup_without_apply_makes_nothing(self, connect: Connect) -> None:
        """Without ``apply`` setup only says what it would make, and says the same again."""
        async with connect() as service:
            first, second = [list(await service.setup(apply=False)) for _ in range(2)]

        assert first == second
        assert all(isinstance(change, Change) and change.what and not change.done for change in first)

    async def test_setup_leaves_nothing_to_make(self, connect: Connect) -> None:
        """With ``apply`` setup makes what is missing; afterwards nothing is."""
        async with connect() as service:
            made = await service.setup(apply=True)
            left = await service.setup(apply=False)

        assert all(change.done for change in made)
        assert list(left) == []

    async def test_setup_again_makes_nothing(self, connect: Connect) -> None:
        """What is there is not made a second time, also by another instance."""
        async with connect() as service:
            await service.setup(apply=True)
            again = await service.setup(apply=True)
        async with connect() as service:
            later = await service.setup(apply=True)

        assert [list(again), list(later)] == [[], []]

    async def test_undo_takes_back_what_setup_made(self, connect: Connect) -> None:
        """By its records, newest first, also of another instance: then setup would make the same again."""
        async with connect() as service:
            planned = list(await service.setup(apply=False))
            records = _records(await service.setup(apply=True))
        async with connect() as service:
            undone = [await service.undo(record, apply=True) for record in records]
            again = list(await service.setup(apply=False))

        assert all(change is not None and change.what and change.done for change in undone)
        assert again == planned

    async def test_undo_without_apply_changes_nothing(self, connect: Connect) -> None:
        """Without ``apply`` undo only says what it would take back."""
        async with connect() as service:
            records = _records(await service.setup(apply=True))
            said = [await service.undo(record, apply=False) for record in records]
            left = await service.setup(apply=False)

        assert all(change is not None and change.what and not change.done for change in said)
        assert list(left) == []

    async def test_undo_of_what_is_not_there(self, connect: Connect) -> None:
        """What was planned and never made, and what is undone already, is nothing to undo."""
        async with connect() as service:
            planned = _records(await service.setup(apply=False))
            never = [await service.undo(record, apply=apply) for record in planned for apply in (False, True)]
            made = _records(await service.setup(apply=True))
            for record in made:
                await service.undo(record, apply=True)
            already = [await service.undo(record, apply=True) for record in made]

        assert [each for each in never + already if each is not None] == []

    async def test_policy_is_text_or_none(self, connect: Connect) -> None:
        """The least privilege is a text that a server reads, or there is none."""
        async with connect() as service:
            policy = service.policy()

        assert policy is None or (isinstance(policy, str) and policy.strip())


def _records(changes: Sequence[Change]) -> list[Any]:
    """What takes them back, newest first, as it is after it was kept in a file."""
    return [json.loads(json.dumps(change.undo)) for change in reversed(changes) if change.undo is not None]
