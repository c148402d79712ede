"""Keeps the exceptions of a plugin apart from those of the core: they become PluginError with the plugin's name."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from functools import wraps
from types import TracebackType
from typing import Any, Self

from imgtag.errors import ImgtagError, PluginError
from imgtag.plugin.spec import PluginSpec
from imgtag.plugin_loader import describe

_HINT = "Run it again as `imgtag -v ...` for the traceback, and report that to the plugin's author."

_PARTS = frozenset({"backfills"})
"""Attributes whose methods are guarded as well. (The pipeline itself takes what dead letters raise.)"""

_ABSENT = object()


class ForeignErrors:
    """A context that turns what a plugin must not raise into PluginError; may be entered any number of times.

    Errors of our own tree pass, alone or in groups.
    """

    def __init__(self, spec: PluginSpec) -> None:
        self._spec = spec

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, ImgtagError):
            return
        if isinstance(error, ExceptionGroup) and error.split(ImgtagError)[1] is None:
            return
        message = f"the {self._spec.kind} plugin {self._spec.name!r} failed: {describe(error)}"
        raise PluginError(
            message, hint="Run it again as `imgtag -v ...` for the traceback, and report that."
        ) from error


class GuardedPart:
    """A part of a plugin, as it is to the core: the same methods and attributes, guarded."""

    def __init__(self, part: Any, spec: PluginSpec) -> None:
        self._part = part
        self._spec = spec
        self._mapping_errors = ForeignErrors(spec)
        # Here at once: from Python 3.12 on, isinstance with a protocol does not ask `__getattr__`.
        for name in dir(type(part)):
            if not name.startswith("_") and inspect.isfunction(inspect.getattr_static(type(part), name)):
                getattr(self, name)

    async def __aenter__(self) -> Self:
        with self._mapping_errors:
            await self._part.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        leave: Callable[..., Any] = self._part.__aexit__
        if error is not None:  # which a context manager may raise again: that is not the plugin's own
            suppressed: bool | None = await leave(kind, error, trace)
            return suppressed
        with self._mapping_errors:
            await leave(None, None, None)
        return None

    def __getattr__(self, name: str) -> Any:
        with self._mapping_errors:  # of a property
            value = getattr(self._part, name, _ABSENT)
        if value is _ABSENT:
            raise AttributeError(f"{type(self._part).__name__!r} has no attribute {name!r}", name=name, obj=self)
        if callable(value) and inspect.isroutine(value):
            value = self.__dict__[name] = self._guard(value)  # so that it is found here next time
        elif name in _PARTS:
            value = self.__dict__[name] = GuardedPart(value, self._spec)
        return value

    def _guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        mapping_errors = self._mapping_errors

        @wraps(function)
        async def wait(*args: Any, **kwargs: Any) -> Any:
            with mapping_errors:
                return await function(*args, **kwargs)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with mapping_errors:
                answer = function(*args, **kwargs)
            # Whether by `async def` or by a plain function: a coroutine, an iterator or a context fails later.
            if hasattr(answer, "__await__"):
                return self._wait(answer)
            if hasattr(answer, "__anext__"):
                return self._iterate(answer)
            return _GuardedContext(answer, mapping_errors) if hasattr(answer, "__aenter__") else answer

        return wait if inspect.iscoroutinefunction(function) else call

    async def _wait(self, answer: Awaitable[Any]) -> Any:
        with self._mapping_errors:
            return await answer

    async def _iterate(self, items: Any) -> AsyncIterator[Any]:
        with self._mapping_errors:
            async with aclosing(items) if hasattr(items, "aclose") else nullcontext():
                async for item in items:
                    yield item


class _GuardedContext(AbstractAsyncContextManager[Any]):
    """A context of a plugin: what entering and leaving raise is the plugin's, what is raised within is not."""

    def __init__(self, context: Any, mapping_errors: ForeignErrors) -> None:
        self._context = context
        self._mapping_errors = mapping_errors

    async def __aenter__(self) -> Any:
        with self._mapping_errors:
            return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if error is not None:  # as above
            suppressed: bool | None = await self._context.__aexit__(kind, error, trace)
            return suppressed
        with self._mapping_errors:
            await self._context.__aexit__(None, None, None)
        return None
