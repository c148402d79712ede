"""A folder after imgtag has left it."""

# ruff: noqa: ASYNC240 - what the tests themselves do to the folder is short

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imgtag.jobs.strip import Fate
from imgtag.testing.indexer import MemoryIndexer
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, Scope
from imgtag_directory.store import DirectoryStore
from strip_support import CODEC, label, make_stripper

pytestmark = pytest.mark.anyio
Make = Callable[..., DirectoryStore]


@pytest.mark.parametrize("layout", ["names", "single"])
@pytest.mark.parametrize("place", ["attributes", "records"])
async def test_a_file_is_as_it_was(
    request: pytest.FixtureRequest, store: Make, root: Path, state_dir: Path, tmp_path: Path, place: str, layout: str
) -> None:
    """Bytes, time, mode and all attributes but ours; no record is left where there are no attributes."""
    path, ref = root / "a.jpg", ObjectRef("photos", "a.jpg")
    path.write_bytes(b"picture")
    path.chmod(0o640)
    os.utime(path, ns=(1, 10**18 + 7))
    if place == "attributes":
        os.setxattr(path, "user.imgtag_owner", "© me".encode())
        os.setxattr(path, "user.binary", b"\xff\xfe")
    else:
        request.getfixturevalue("without_attributes")
    before = _everything(path)
    async with store() as entered:
        labelled = await label(entered, ref, replace(CODEC, layout=layout))
        assert MARK in labelled.metadata
        stripper = await make_stripper(tmp_path, entered, MemoryIndexer())
        counts = await stripper.strip([Scope("photos")], lambda _: None)
        state = await entered.stat(ref)

    assert {Fate.STRIPPED: 1} == dict(counts.fates)
    assert not [name for name in state.metadata if name != "imgtag_owner"]
    assert before == _everything(path)
    assert [] == [file for file in state_dir.rglob("*") if file.is_file()]


async def test_what_may_not_be_written_is_refused(store: Make, root: Path, tmp_path: Path) -> None:
    """A link to a file elsewhere has nothing of ours; the file that a user protected is named."""
    for name in ("a.jpg", "b.jpg"):
        (root / name).write_bytes(b"picture")
    (tmp_path / "c.jpg").write_bytes(b"picture")
    (root / "c.jpg").symlink_to(tmp_path / "c.jpg")
    async with store() as entered:
        await label(entered, ObjectRef("photos", "a.jpg"))
        stat, refused = entered.stat, []

        async def protected(ref: ObjectRef) -> object:
            state = await stat(ref)
            return replace(state, readonly="permission") if ref.key in {"a.jpg", "b.jpg"} else state

        entered.stat = protected
        stripper = await make_stripper(tmp_path, entered, MemoryIndexer())
        counts = await stripper.strip([Scope("photos")], refused.append)

    assert {Fate.REFUSED: 1, Fate.UNTOUCHED: 2} == dict(counts.fates)
    assert {("a.jpg", "permission")} == {(one.ref.key, one.code) for one in refused if one.code}


def _everything(path: Path) -> tuple[object, ...]:
    status = path.stat()
    attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return path.read_bytes(), status.st_mtime_ns, status.st_mode, status.st_ino, attributes
