"""Plugins that raise what they like, and lack what their kind needs."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Self

import pytest

from imgtag.errors import PluginError, Unavailable
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.spec import PluginSpec
from imgtag.plugin_guard import ForeignErrors, GuardedPart
from imgtag.plugin_loader import require_members
from imgtag.testing.indexer import MemoryIndexer

pytestmark = pytest.mark.anyio

SPEC = PluginSpec(name="duck", kind="indexer", summary="For tests.", factory="nowhere:make")
FAILED = "the indexer plugin 'duck' failed: "


class Broken:
    """Everything fails as a library's code does."""

    answer = 42

    def __init__(self) -> None:
        self.closed = False

    async def __aenter__(self) -> Self:
        raise KeyError("pond")

    async def __aexit__(self, *_: object) -> None:
        raise RuntimeError("door")

    async def apply(self, changes: Any) -> Any:
        raise ValueError(f"two\nlines of {changes}")

    async def wait(self) -> None:
        raise Unavailable("the pond is frozen")

    async def group(self) -> None:
        raise ExceptionGroup("both", [Unavailable("one"), Unavailable("other")])

    async def scan(self) -> AsyncIterator[int]:
        try:
            yield 1
            raise OSError("feathers")
        finally:
            self.closed = True

    def policy(self) -> str:
        raise TypeError("no beak")

    def scan_elsewhere(self) -> AsyncIterator[int]:
        return self.scan()

    def count(self) -> Any:
        return self.apply("the pond")

    @asynccontextmanager
    async def open(self, fails: str) -> AsyncIterator[str]:
        if fails == "entering":
            raise KeyError("lid")
        yield "water"
        raise OSError("leak")

    @property
    def trouble(self) -> str:
        raise LookupError("no voice")

    @property
    def backfills(self) -> Broken:
        return Broken()


@pytest.fixture
def part() -> Any:
    return GuardedPart(Broken(), SPEC)


def test_what_a_plugin_may_have_besides_is_seen(part: Any) -> None:
    """Also by isinstance with a protocol, which from Python 3.12 on looks with getattr_static."""
    assert callable(inspect.getattr_static(part, "policy"))
    assert not hasattr(part, "policy_with")


async def test_foreign_exceptions_have_the_name_of_the_plugin(part: Any) -> None:
    """Of coroutines, plain methods, iterators and of entering; the cause is kept for the traceback."""
    with pytest.raises(PluginError, match=f"{FAILED}ValueError: two lines of 3") as caught:
        await part.apply(3)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(PluginError, match=f"{FAILED}TypeError: no beak"):
        part.policy()
    with pytest.raises(PluginError, match=f"{FAILED}KeyError: 'pond'"):
        await part.__aenter__()
    with pytest.raises(PluginError, match=f"{FAILED}RuntimeError: door"):
        await part.__aexit__(None, None, None)
    with pytest.raises(PluginError, match=f"{FAILED}OSError: feathers"):
        async for _ in part.scan():
            pass


async def test_what_a_plain_function_gives_is_guarded(part: Any) -> None:
    """A coroutine, an iterator, a context: they fail after the call that made them. So does a property."""
    with pytest.raises(PluginError, match=f"{FAILED}ValueError: two lines of the pond"):
        await part.count()
    with pytest.raises(PluginError, match=f"{FAILED}OSError: feathers"):
        async for _ in part.scan_elsewhere():
            pass
    with pytest.raises(PluginError, match=f"{FAILED}KeyError: 'lid'"):
        async with part.open("entering"):
            pass
    with pytest.raises(PluginError, match=f"{FAILED}OSError: leak"):
        async with part.open("leaving") as content:
            assert "water" == content
    with pytest.raises(PluginError, match=f"{FAILED}LookupError: no voice"):
        _ = part.trouble


async def test_what_is_raised_within_a_context_is_not_its_own(part: Any) -> None:
    """The core's own errors are never blamed on a plugin."""
    with pytest.raises(ZeroDivisionError):
        async with part.open("nothing"):
            _ = 1 / 0


async def test_our_own_errors_pass(part: Any) -> None:
    """As they are, also several together: the pipeline acts on them."""
    with pytest.raises(Unavailable, match="the pond is frozen"):
        await part.wait()
    with pytest.raises(ExceptionGroup, match="both"):
        await part.group()


async def test_an_iterator_that_is_left_is_closed(part: Any) -> None:
    """At once, not when somebody collects it."""
    async with aclosing(part.scan()) as items:
        async for _ in items:
            break

    assert part.closed


async def test_attributes_are_those_of_the_part(part: Any) -> None:
    """Nothing that is there is missed, and what is not is as ever."""
    assert 42 == part.answer
    with pytest.raises(AttributeError):
        _ = part.wings


async def test_the_queue_of_a_source_is_guarded_too(part: Any) -> None:
    """It is an attribute with methods of its own."""
    with pytest.raises(PluginError, match=f"{FAILED}ValueError"):
        await part.backfills.apply([])


def test_making_is_guarded_too() -> None:
    """A constructor may fail like anything else."""
    with pytest.raises(PluginError, match=f"{FAILED}ZeroDivisionError"), ForeignErrors(SPEC):
        _ = 1 / 0


def test_what_a_kind_needs_is_looked_for() -> None:
    """Every method and attribute of its protocol, before any work begins."""
    require_members(SPEC, MemoryIndexer(), Indexer)

    with pytest.raises(PluginError, match=r"the indexer plugin 'duck' lacks .*get, search.*setup, undo$"):
        require_members(SPEC, Broken(), Indexer)
