"""Keeps the exceptions of a plugin apart from those of the core: they become PluginError with the plugin's name."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import wraps
from types import TracebackType
from typing import Any, Self

from imgtag.errors import ImgtagError, PluginError
from imgtag.plugin.spec import PluginSpec
from imgtag.plugin_loader import describe

_HINT = "Run it again as `imgtag -v ...` for the traceback, and report that to the plugin's author."


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
        self._mapping_errors = ForeignErrors(spec)

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
        value = getattr(self._part, name)
        if callable(value) and inspect.isroutine(value):
            value = self.__dict__[name] = self._guard(value)  # so that it is found here next time
        return value

    def _guard(self, function: Callable[..., Any]) -> Callable[..., Any]:
        mapping_errors = self._mapping_errors

        @wraps(function)
        async def wait(*args: Any, **kwargs: Any) -> Any:
            with mapping_errors:
                return await function(*args, **kwargs)

        @wraps(function)
        async def iterate(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            with mapping_errors:
                async with aclosing(function(*args, **kwargs)) as items:
                    async for item in items:
                        yield item

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with mapping_errors:
                return function(*args, **kwargs)

        if inspect.iscoroutinefunction(function):
            return wait
        return iterate if inspect.isasyncgenfunction(function) else call
