"""Pictures to try models on: those of a folder, or those that a query finds in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from imgtag.assembly import make_indexer, make_store
from imgtag.cli.search import understood
from imgtag.config.configuration import Config
from imgtag.errors import Unreadable
from imgtag.plugin.indexer import SearchRequest
from imgtag.stages.fetch import fetch
from imgtag.types.image_formats import SUFFIXES
from imgtag.types.ref import ObjectRef


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Where it is, and how its bytes are had: `read` raises Unreadable, Unavailable."""

    name: str
    read: Callable[[], Awaitable[bytes]]


def in_folder(folder: Path) -> Iterator[Path]:
    """The pictures below a folder by name, in their order; hidden ones are left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path


def of_file(path: Path, limit: int) -> Picture:
    """A file as a picture; ``limit`` in bytes."""

    async def read() -> bytes:
        return await anyio.to_thread.run_sync(_read, path, limit)

    return Picture(name=str(path), read=read)


@asynccontextmanager
async def pictures(config: Config, what: str, count: int) -> AsyncIterator[list[Picture]]:
    """At most ``count`` pictures of a folder, or else of a query. Raises Unavailable, UsageError."""
    limit = config.pipeline.max_bytes
    if await anyio.to_thread.run_sync(Path(what).is_dir):
        paths = await anyio.to_thread.run_sync(lambda: list(in_folder(Path(what)))[:count])
        yield [of_file(path, limit) for path in paths]
        return
    query = understood((what,))
    async with AsyncExitStack() as stack:
        indexer = await stack.enter_async_context(make_indexer(config))
        store = await stack.enter_async_context(make_store(config))
        page = await indexer.search(SearchRequest(query=query, limit=count))

        def of_object(ref: ObjectRef) -> Picture:
            async def read() -> bytes:
                async with store.open(ref) as body:
                    if body is None:
                        raise Unreadable(f"there is no object {ref} any more", code="absent")
                    return await fetch(body, limit)

            return Picture(name=str(ref), read=read)

        yield [of_object(ObjectRef(hit["bucket"], hit["key"])) for hit in page.hits]


def _read(path: Path, limit: int) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise Unreadable(f"{path} has more than {limit:,} bytes", code="too_large")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}", code="permission") from error
