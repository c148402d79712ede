"""What ``imgtag label`` prints, and labels as other commands print them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import click

from imgtag.assembly import make_store
from imgtag.cli.terminal import escape, to_json
from imgtag.config.configuration import Config
from imgtag.errors import ImgtagError, Unreadable
from imgtag.jobs.labelling import Labeller, Labelling, Picture, file_picture, object_picture, open_labeller
from imgtag.plugin.store import Store
from imgtag.types.labels import Label
from imgtag.types.ref import ObjectRef

_HINT = "REF is an existing file, or BUCKET/KEY in the configured store."


async def label_all(config: Config, refs: tuple[str, ...], *, as_json: bool) -> int:
    """Label these files and objects, and print what is on them; returns how many could not be labelled.

    Raises as `open_labeller` does, and what the store raises when it is entered.
    """
    async with AsyncExitStack() as stack:
        labeller = await stack.enter_async_context(open_labeller(config, pictures=len(refs)))
        store = None
        if config.store and not all([await anyio.Path(ref).exists() for ref in refs]):
            store = await stack.enter_async_context(make_store(config))
        report = _Report(labeller, store, refs, as_json=as_json)
        await labeller.for_each(range(len(refs)), report.add)
    return report.failed


class _Report:
    """Prints answers in the order of the arguments, as soon as all before them are printed."""

    def __init__(self, labeller: Labeller, store: Store | None, refs: tuple[str, ...], *, as_json: bool) -> None:
        self.failed = 0
        self._labeller, self._store, self._refs, self._as_json = labeller, store, refs, as_json
        self._ready: dict[int, str] = {}
        self._next = 0

    async def add(self, place: int) -> None:
        """Label the picture at this place, and print what can be printed."""
        self._ready[place] = await self._answer(self._refs[place])
        while self._next in self._ready:
            click.echo(self._ready.pop(self._next))
            self._next += 1

    async def _answer(self, ref: str) -> str:
        start = time.perf_counter()
        try:
            picture = await self._find(ref)
            labelling = await self._labeller.label(await picture.read(), decimals=4)
        except ImgtagError as error:
            self.failed += 1
            if self._as_json:
                facts = {"code": error.code, "message": error.message, "hint": error.hint}
                return to_json({"ref": ref, "error": facts})
            hint = [f"hint: {escape(error.hint)}"] if error.hint else []
            return self._text(ref, [f"not labelled: {escape(error.message)}", *hint])
        if not self._as_json:
            return self._text(ref, list(self._lines(labelling)) or ["no label with enough confidence"])
        return to_json(
            {
                "ref": ref,
                "labels": to_list(labelling.labels),
                "ancestors": to_list(labelling.ancestors),
                "model": self._labeller.info().id,
                "ms": round((time.perf_counter() - start) * 1000, 1),
            }
        )

    async def _find(self, ref: str) -> Picture:
        max_bytes = self._labeller.max_bytes
        if await anyio.Path(ref).exists():
            return file_picture(Path(ref), max_bytes)
        if self._store is None:
            raise Unreadable(f"there is no file {ref}, and no store is configured", code="absent", hint=_HINT)
        try:
            return object_picture(self._store, ObjectRef.parse(ref), max_bytes)
        except ValueError as error:
            raise Unreadable(f"there is no file {ref}", code="absent", hint=_HINT) from error

    def _text(self, ref: str, lines: list[str]) -> str:
        return "\n".join([f"{escape(ref)}:", *(f"  {line}" for line in lines)] if len(self._refs) > 1 else lines)

    def _lines(self, labelling: Labelling) -> Iterator[str]:
        """``red fox (58.52% likely)``, in the model's own spelling; the ancestors on one dim line."""
        for label in labelling.labels:
            yield f"{escape(labelling.vocabulary.labels[label.name].display)} ({label.confidence:.2%} likely)"
        if labelling.ancestors:
            names = (
                f"{escape(labelling.vocabulary.ancestors[label.name].display)} {label.confidence:.2f}"
                for label in labelling.ancestors
            )
            yield click.style(", ".join(names), dim=True)


def to_list(labels: tuple[Label, ...]) -> list[dict[str, Any]]:
    """Labels as --json has them."""
    return [{"label": label.name, "confidence": label.confidence} for label in labels]
