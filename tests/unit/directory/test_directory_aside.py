"""Labels where the file system has no attributes, or no room for them."""

# ruff: noqa: ASYNC240 - what the tests themselves do to the folder is short

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from imgtag.files.records import Records
from imgtag.plugin.store import Rewrite
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_directory.store import DirectoryStore

pytestmark = pytest.mark.anyio
Make = Callable[..., DirectoryStore]
REF = ObjectRef("photos", "sub/a.jpg")
LABELS = {"imgtag_fox": "0.59", "imgtag-mark": "1"}


@pytest.fixture
def picture(root: Path) -> Path:
    path = root / REF.key
    path.parent.mkdir()
    path.write_bytes(b"picture")
    return path


@pytest.fixture
def records(state_dir: Path) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(path.read_text()) for path in (state_dir / "attributes").rglob("*.json")]


async def label(store: DirectoryStore, metadata: dict[str, str]) -> ObjectState:
    state = await store.stat(REF)
    assert state is not None
    return await store.rewrite(Rewrite(state=state, metadata=metadata))


async def seen(store: DirectoryStore) -> dict[str, str]:
    state = await store.stat(REF)
    assert state is not None
    return dict(state.metadata)


@pytest.mark.usefixtures("without_attributes")
async def test_without_attributes(store: Make, picture: Path, records: Callable[[], list[dict[str, Any]]]) -> None:
    """Labels are kept aside, found again by another process, replaced, and taken away."""
    state = await label(store(), LABELS)
    assert LABELS == dict(state.metadata) == await seen(store())
    assert [{"key": REF.key, "etag": state.etag, "metadata": LABELS}] == records()
    newer = {"imgtag_cat": "0.40", "imgtag-mark": "2"}
    await label(store(), newer)
    assert newer == await seen(store())
    await label(store(), {})

    assert {} == await seen(store())
    assert [] == records()


@pytest.mark.usefixtures("without_attributes")
@pytest.mark.parametrize("change", ["overwritten", "deleted"])
async def test_counts_for_this_content_only(
    store: Make, picture: Path, records: Callable[[], list[dict[str, Any]]], change: str
) -> None:
    """Labels of what was overwritten or deleted are not found, and are tidied away; not by who may only look."""
    await label(store(), LABELS)
    if change == "overwritten":
        picture.write_bytes(b"another picture")
    else:
        picture.unlink()
    for read_only in (True, False):
        state = await store(read_only=read_only).stat(REF)
        assert not (state and state.metadata)
        assert read_only == bool(records())


@pytest.mark.parametrize(
    "large", [{"imgtag_" + "n" * 300: "0.50"}, {"imgtag-raw": "v" * 70_000}], ids=["name", "value"]
)
async def test_without_room(
    store: Make, picture: Path, records: Callable[[], list[dict[str, Any]]], large: dict[str, str]
) -> None:
    """Where one entry has no room all of ours go aside, and come back when there is room again."""
    os.setxattr(picture, "user.Licence", b"mine")
    user = {"Licence": "mine"}
    await label(store(), user | LABELS)
    assert [] == records()
    await label(store(), user | LABELS | large)
    assert user | LABELS | large == await seen(store())
    assert ["user.Licence"] == os.listxattr(picture)
    assert [LABELS | large] == [record["metadata"] for record in records()]
    await label(store(), user | LABELS)

    assert user | LABELS == await seen(store())
    assert {"user.Licence", "user.imgtag_fox", "user.imgtag-mark"} == set(os.listxattr(picture))
    assert [] == records()


@pytest.mark.usefixtures("picture")
async def test_a_crash_between_leaves_no_mark(store: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step of going aside a crash hits, no mark is there with labels of another."""
    await label(store(), {"imgtag_dog": "0.90", "imgtag-mark": "1"})

    class Crash(BaseException):
        pass

    def crash(*args: Any) -> None:
        raise Crash

    monkeypatch.setattr(Records, "put", crash)
    made = store()
    with pytest.raises(Crash):
        await label(made, {"imgtag_" + "n" * 300: "0.50", "imgtag-mark": "2"})

    assert "imgtag-mark" not in await seen(store())


@pytest.mark.usefixtures("without_attributes", "picture")
async def test_unfinished_records_are_swept(store: Make, state_dir: Path) -> None:
    """What a killed process left unfinished is no record, and is removed in time."""
    await label(store(), LABELS)
    (folder,) = (state_dir / "attributes").glob("*/.new")
    old, new = folder / "old", folder / "new"
    old.write_bytes(b"{")
    new.write_bytes(b"{")
    os.utime(old, (0, 0))
    async with store() as made:
        assert LABELS == await seen(made)

    assert [new] == list(folder.iterdir())


@pytest.fixture
def ramfs(tmp_path: Path) -> Iterator[Path]:
    """A file system that really has no user attributes."""
    path = tmp_path / "ram" / "photos"
    path.mkdir(parents=True)
    if os.geteuid() != 0 or run(["mount", "-t", "ramfs", "ramfs", path], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount")
    yield path
    run(["umount", path], check=True)


async def test_on_a_file_system_without(store: Make, ramfs: Path) -> None:
    """The same on a real file system that has no user attributes, and `doctor` says where labels go."""
    (ramfs / "sub").mkdir()
    (ramfs / REF.key).write_bytes(b"picture")
    made = store(root=ramfs)
    await label(made, LABELS)
    checks = {check.check: check async for check in made.checks()}

    assert LABELS == await seen(store(root=ramfs))
    assert checks["attributes"].ok
    assert "state folder" in checks["attributes"].message
