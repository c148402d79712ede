"""Work on many items at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import TypeVar

_Item = TypeVar("_Item")


async def divide(items: AsyncIterable[_Item], size: int) -> AsyncIterator[list[_Item]]:
    """Yield pages of ``size`` items in their order; the last one may be shorter, and none is empty."""
    page: list[_Item] = []
    async for item in items:
        page.append(item)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
