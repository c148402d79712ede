"""What every plugin of the main process must do."""

from __future__ import annotations

from collections.abc import Callable
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
        """Checks say what was looked at and what was seen; a failed one has a hint."""
        async with connect() as service:
            checks = [check async for check in service.checks()]

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

    async def test_policy_is_text_or_none(self, connect: Connect) -> None:
        """The least privilege is a text that a server reads, or there is none."""
        async with connect() as service:
            policy = service.policy()

        assert policy is None or (isinstance(policy, str) and policy.strip())
