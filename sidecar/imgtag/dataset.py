"""Images of a store as a dataset for training: ``torch.utils.data.DataLoader`` takes it, and nothing here needs torch.

from imgtag.dataset import ImageDataset

dataset = ImageDataset("fox after:2024 width>1000", config="imgtag.toml", size=(224, 224))
image, label = dataset[0]
dataset.classes[label]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from PIL import Image as Pillow
from PIL import ImageOps

from imgtag.assembly import make_indexer, make_store
from imgtag.config.configuration import Config
from imgtag.config.load import load
from imgtag.config.policy import PolicyResolver
from imgtag.errors import Undecodable, Unreadable
from imgtag.jobs.dataset import Member, find_members
from imgtag.jobs.manifest import class_names
from imgtag.plugin.image import Image
from imgtag.plugin.store import Store
from imgtag.query import parse
from imgtag.stages.fetch import fetch
from imgtag.types.ref import ObjectRef


class ImageDataset:
    """The images that a query finds, map-style: ``len(dataset)`` and ``dataset[number]``.

    The query is that of `imgtag search`, with conditions on labels, place, time and size. It is answered once, when the
    dataset is made; the order is that of buckets and keys, the same every time while the index stays the same. Raises
    QueryError, InvalidConfig, Unavailable.

    ``config`` is the file of the configuration, by default that of the command. ``size``: width and height in pixels to
    which the middle of each image is resized, ``crop`` the share of the shorter side that stays; without a size an
    image stays as large as it is. ``rotate``: degrees counter-clockwise, a multiple of 90. ``transform`` gets the
    image, a `PIL.Image.Image` (RGB, upright), and returns what the dataset gives; ``as_array`` makes it a uint8 array
    [height, width, 3] before. ``threshold``: the confidence that the label of an image must have. ``limit``: at most so
    many images.

    Every process that reads connects by itself, so a dataset can be pickled, and used by processes that were forked.
    """

    def __init__(  # noqa: PLR0913  (what a DataLoader's author sets, each by its name)
        self,
        query: str = "",
        *,
        config: Path | str | None = None,
        size: tuple[int, int] | None = None,
        crop: float = 1.0,
        rotate: int = 0,
        as_array: bool = False,
        transform: Callable[[Any], Any] | None = None,
        threshold: float = 0.0,
        limit: int | None = None,
    ) -> None:
        if rotate % 90:
            raise ValueError("rotate is a multiple of 90 degrees")
        self._config_file = None if config is None else Path(config).absolute()
        self._size, self._crop, self._rotate = size, crop, rotate
        self._as_array, self._transform = as_array, transform
        self._connection: _Connection | None = None
        with start_blocking_portal() as portal:
            found = portal.call(partial(_find, load(self._config_file), query, threshold))
        members = found[:limit]
        self.classes: list[str] = class_names(members)
        """The labels; the number of one is its place."""
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.targets: list[int] = [numbers[member.label] for member in members]
        """The number of each image's label."""
        self._refs = [(member.ref.bucket, member.ref.key) for member in members]

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        """The image and the number of its label. Raises IndexError, Unreadable, Undecodable, Unavailable."""
        ref = ObjectRef(*self._refs[number])
        return self._shape(_decode(self._connect().read(ref), ref, self._size)), self.targets[number]

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return (self[number] for number in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_connection": None}

    def ref(self, number: int) -> str:
        """Which object an image is: BUCKET/KEY."""
        return "/".join(self._refs[number])

    def close(self) -> None:
        """Close the connection of this process; the next image opens another."""
        if self._connection is not None and self._connection.process == os.getpid():
            self._connection.close()
        self._connection = None

    def _connect(self) -> _Connection:
        if self._connection is None or self._connection.process != os.getpid():
            # A forked process has its parent's connection, but not the thread that serves it. It must not be collected:
            # closing it would unregister the parent's sockets, as both share one epoll.
            _INHERITED.append(self._connection)
            self._connection = _Connection(load(self._config_file))
        return self._connection

    def _shape(self, picture: Pillow.Image) -> Any:
        if self._rotate:
            picture = picture.rotate(self._rotate, expand=True)
        if self._size:
            picture = Pillow.fromarray(Image(picture).fit(self._size, crop=self._crop))
        shaped = Image(picture).array if self._as_array else picture
        return self._transform(shaped) if self._transform else shaped


class _Connection:
    """An open store on an event loop in a thread of its own, of this process."""

    def __init__(self, config: Config) -> None:
        self.process = os.getpid()
        self._max_bytes = PolicyResolver(config).general.max_bytes
        with ExitStack() as stack:
            self._portal: BlockingPortal = stack.enter_context(start_blocking_portal())
            self._store = stack.enter_context(
                self._portal.wrap_async_context_manager(make_store(config, read_only=True))
            )
            self._stack = stack.pop_all()

    def read(self, ref: ObjectRef) -> bytes:
        """The bytes of an object. Raises Unreadable, Unavailable."""
        return self._portal.call(_read, self._store, ref, self._max_bytes)

    def close(self) -> None:
        """Close the store and end the thread."""
        self._stack.close()


_INHERITED: list[_Connection | None] = []


async def _find(config: Config, query: str, threshold: float) -> list[Member]:
    async with make_indexer(config, read_only=True) as indexer:
        return await find_members(indexer, parse(query), threshold)


async def _read(store: Store, ref: ObjectRef, max_bytes: int) -> bytes:
    async with store.open(ref) as body:
        if body is None:
            raise Unreadable(f"there is no object {ref} any more", code="absent")
        return await fetch(body, max_bytes)


def _decode(data: bytes, ref: ObjectRef, size: tuple[int, int] | None) -> Pillow.Image:
    try:
        with Pillow.open(BytesIO(data)) as picture:
            if size:  # a JPEG is decoded at a half, a quarter or an eighth, where that is still large enough
                picture.draft("RGB", (2 * max(size), 2 * max(size)))
            upright = ImageOps.exif_transpose(picture)
            return upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise Undecodable(f"{ref} cannot be decoded: {error}") from error
