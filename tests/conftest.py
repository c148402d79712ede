"""What every test runs under: no settings from outside, asyncio in debug mode, no blocking call on the event loop."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, Phase, settings

ROOT = Path(__file__).parent.parent
SYSTEMD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY")

# Without a deadline and the check for slow examples: on a busy machine they fail tests that are right.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("patient", PATIENT)
settings.register_profile("check", PATIENT, max_examples=25)
settings.register_profile(
    "mutation", PATIENT, max_examples=30, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("patient")  # unless --hypothesis-profile names another one


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """asyncio, which complains in debug mode of coroutines that nobody awaits and of slow callbacks."""
    return "asyncio", {"debug": True}


@pytest.fixture(autouse=True, scope="session")
def scrubbed_environment() -> Iterator[None]:
    """No test sees the settings of the person who runs it, nor state of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in tuple(os.environ):
            if name.startswith("IMGTAG_") or name in SYSTEMD:
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """In async tests, what our code calls on the event loop must not block it."""
    if not inspect.iscoroutinefunction(getattr(request, "function", None)):
        yield
        return
    ours = [ROOT / "sidecar" / "imgtag", *(ROOT / "plugins").glob("imgtag_*")]
    with blockbuster_ctx([_sources(path) for path in ours]) as guard:
        for function in guard.functions.values():  # imports happen once, and tracebacks read sources
            function.can_block_in("<frozen importlib._bootstrap>", {"_find_and_load"})
            function.can_block_in("linecache.py", {"updatecache", "checkcache"})
        yield


def _sources(path: Path) -> ModuleType:
    """A folder in the shape that blockbuster takes, without importing what is in it."""
    module = ModuleType(path.name)
    module.__path__ = [str(path)]
    return module
