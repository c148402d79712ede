"""The folder as a source, on a real folder with real inotify."""

# ruff: noqa: ASYNC240 - what the tests themselves do to the folder is short

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from watchdog.observers.inotify_c import InotifyFD

from imgtag.errors import ConfigError
from imgtag.flow import inbox
from imgtag.plugin.spec import PluginContext
from imgtag.plugin.store import Rewrite
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef
from imgtag_directory.inotify import FolderTree
from imgtag_directory.settings import DirectorySourceSettings
from imgtag_directory.source import DirectorySource
from imgtag_directory.store import DirectoryStore
from unit.directory.walker import serve

pytestmark = pytest.mark.anyio
Make = Callable[..., DirectorySource]
Listen = Callable[[DirectorySource], Any]
WHOLE = "photos/"


@pytest.fixture
def filled(root: Path) -> Path:
    """The root with something in it, so that it is believed."""
    (root / "here.jpg").write_bytes(b"1")
    return root


def exchange(one: Path, other: Path) -> None:
    """Each gets the name of the other at once: https://man7.org/linux/man-pages/man2/rename.2.html."""
    if ctypes.CDLL(None).renameat2(-100, bytes(one), -100, bytes(other), 2):
        pytest.skip("the file system cannot exchange names")


async def test_first_comes_a_resync(source: Make, filled: Path, listen: Listen) -> None:
    """All that happened before is compared; what happens afterwards is heard of, with ETag and time."""
    async with listen(source()) as heard:
        await heard.until(lambda: heard.resyncs == [WHOLE])
        (filled / "a.jpg").write_bytes(b"1")
        await heard.until(lambda: heard.keys == ["a.jpg"])
        hint = heard.deliveries[-1].hints[0]
        status = (filled / "a.jpg").stat()

        assert f'"{status.st_ino:x}-1-{status.st_mtime_ns:x}"' == hint.etag
        assert time.time() - 10 < hint.at <= time.time()
        assert ObjectRef("photos", "a.jpg") == hint.ref
        assert [WHOLE] == heard.resyncs


async def test_a_file_written_slowly_comes_once(source: Make, filled: Path, listen: Listen) -> None:
    """What is still being written is left alone, also where its writer closes and opens it again."""
    async with listen(source(settle=1.6)) as heard:  # 0.4 for a closed file: no pause of a busy machine is as long
        await heard.until(lambda: bool(heard.resyncs))
        with (filled / "held.jpg").open("wb", buffering=0) as held:
            for number in range(25):
                held.write(b"piece")
                with (filled / "again.jpg").open("ab") as again:
                    again.write(b"piece")
                await anyio.sleep(0.08)
                assert [] == heard.keys, number
        await heard.until(lambda: len(heard.keys) >= 2)
        await anyio.sleep(0.5)

        assert ["again.jpg", "held.jpg"] == sorted(heard.keys)


async def test_a_closed_file_comes_sooner(source: Make, filled: Path, listen: Listen) -> None:
    """Who closed a file is given a shorter time to open it again."""
    async with listen(source(settle=4)) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        (filled / "a.jpg").write_bytes(b"1")
        await heard.until(lambda: heard.keys == ["a.jpg"], seconds=3.5)


async def test_changes_of_all_kinds(source: Make, filled: Path, listen: Listen) -> None:
    """Overwritten, deleted, renamed, moved in and moved out."""
    for name in ("over", "gone", "old", "out"):
        (filled / f"{name}.jpg").write_bytes(b"1")
    (filled.parent / "in.jpg").write_bytes(b"1")
    async with listen(source()) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        (filled / "over.jpg").write_bytes(b"22")
        (filled / "gone.jpg").unlink()
        (filled / "old.jpg").rename(filled / "new.jpg")
        (filled / "out.jpg").rename(filled.parent / "out.jpg")
        (filled.parent / "in.jpg").rename(filled / "in.jpg")
        (filled / "x.jpg.part").write_bytes(b"1")
        (filled / "x.jpg.part").rename(filled / "x.jpg")
        await heard.until(lambda: len(heard.keys) >= 4 and len(heard.removed) >= 3)
        await anyio.sleep(0.3)

        assert ["in.jpg", "new.jpg", "over.jpg", "x.jpg"] == sorted(heard.keys)
        assert ["gone.jpg", "old.jpg", "out.jpg"] == sorted(heard.removed)


async def test_thousands_at_once(source: Make, filled: Path, listen: Listen) -> None:
    """Each of 2,000 files in new folders comes, once."""
    async with listen(source()) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        expected = []
        for number in range(2000):
            path = filled / f"{number % 20:02}" / "deep" / f"{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"1")
            expected.append(str(path.relative_to(filled)))
        await heard.until(lambda: len(heard.keys) >= 2000, seconds=30)

        assert sorted(expected) == sorted(heard.keys)
        assert [WHOLE] == heard.resyncs


async def test_a_folder_is_renamed(source: Make, filled: Path, listen: Listen) -> None:
    """The files come under their new names, and the old place is compared as a whole."""
    (filled / "old" / "sub").mkdir(parents=True)
    for key in ("old/a.jpg", "old/sub/b.jpg"):
        (filled / key).write_bytes(b"1")
    async with listen(source()) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        (filled / "old").rename(filled / "new")
        await heard.until(lambda: len(heard.keys) >= 2 and len(heard.resyncs) >= 2)

        assert ["new/a.jpg", "new/sub/b.jpg"] == sorted(heard.keys)
        assert {WHOLE, "photos/old/"} >= set(heard.resyncs[:2])
        (filled / "new" / "sub" / "c.jpg").write_bytes(b"1")
        await heard.until(lambda: "new/sub/c.jpg" in heard.keys)


async def test_a_folder_goes_and_another_comes(source: Make, filled: Path, listen: Listen) -> None:
    """A folder moved out or deleted is compared as a whole; the files of one moved in come."""
    for key in ("out/a.jpg", "gone/b.jpg"):
        (filled / key).parent.mkdir()
        (filled / key).write_bytes(b"1")
    (filled.parent / "in" / "sub").mkdir(parents=True)
    (filled.parent / "in" / "sub" / "c.jpg").write_bytes(b"1")
    async with listen(source()) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        (filled / "out").rename(filled.parent / "out")
        shutil.rmtree(filled / "gone")
        (filled.parent / "in").rename(filled / "in")
        await heard.until(lambda: {"photos/out/", "photos/gone/"} <= set(heard.resyncs) and heard.keys)

        assert ["in/sub/c.jpg"] == heard.keys
        assert ["gone/b.jpg"] == heard.removed


async def test_two_folders_are_exchanged(source: Make, filled: Path, listen: Listen) -> None:
    """Both are watched under their new names, what was in them is compared, and the watcher ends without a trouble."""
    for name in ("one", "two"):
        (filled / name / "deep").mkdir(parents=True)
        (filled / name / "deep" / f"{name}.jpg").write_bytes(b"1")
    async with listen(source()) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        exchange(filled / "one", filled / "two")
        await heard.until(lambda: {"one/deep/two.jpg", "two/deep/one.jpg"} <= set(heard.keys))
        await heard.until(lambda: {"photos/one/", "photos/two/"} <= set(heard.resyncs))
        for name in ("one", "two"):
            (filled / name / "deep" / "new.jpg").write_bytes(b"1")
            (filled / name / "new.jpg").write_bytes(b"1")
        expected = {f"{name}/{key}" for name in ("one", "two") for key in ("new.jpg", "deep/new.jpg")}
        await heard.until(lambda: expected <= set(heard.keys))

        assert [WHOLE] == [scope for scope in heard.resyncs if scope == WHOLE]


async def test_a_file_with_two_names(source: Make, filled: Path, listen: Listen) -> None:
    """What is written through one name has changed under the other as well, so all is compared."""
    (filled / "sub").mkdir()
    os.link(filled / "here.jpg", filled / "sub" / "again.jpg")
    async with listen(source()) as heard:
        await heard.until(lambda: heard.resyncs == [WHOLE])
        (filled / "here.jpg").write_bytes(b"22")
        await heard.until(lambda: heard.keys == ["here.jpg"] and heard.resyncs == [WHOLE, WHOLE])


@pytest.mark.parametrize("watch", ["inotify", "poll"])
async def test_changed_permissions(source: Make, filled: Path, listen: Listen, watch: str) -> None:
    """A file that may be read or written by others now is looked at again."""
    async with listen(source(watch=watch, poll=0.1)) as heard:
        await heard.until(lambda: heard.resyncs == [WHOLE])
        (filled / "here.jpg").chmod(0o640)
        await heard.until(lambda: heard.keys == ["here.jpg"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
async def test_a_folder_that_opens_for_its_owner(
    source: Make, filled: Path, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that may not be read is logged; once it may be, it is compared and watched."""
    (filled / "album").mkdir()
    (filled / "album" / "a.jpg").write_bytes(b"1")
    (filled / "album").chmod(0)
    async with listen(source()) as heard:
        await heard.until(lambda: "folder_unreadable" in caplog.messages)
        (filled / "album").chmod(0o700)
        await heard.until(lambda: "photos/album/" in heard.resyncs and "album/a.jpg" in heard.keys)


@pytest.fixture
def other_user() -> Iterator[tuple[Path, Connection]]:
    """A root, and a sidecar of another user that watches it."""
    if os.geteuid() != 0:
        pytest.skip("becomes another user, which only root can")
    with TemporaryDirectory() as base:
        Path(base).chmod(0o711)
        root = Path(base) / "photos"
        root.mkdir()
        (Path(base) / "state").mkdir()
        os.chown(Path(base) / "state", 65534, -1)
        (root / "anchor.jpg").write_bytes(b"1")
        ours, theirs = multiprocessing.get_context("fork").Pipe()
        process = multiprocessing.get_context("fork").Process(target=serve, args=(theirs, 65534), daemon=True)
        process.start()
        ours.send(str(root))
        until_indexed(ours, {"anchor.jpg"})
        yield root, ours
        ours.send("stop")
        assert ours.recv() == "stopped"
        ours.send(None)
        process.join(10)
        assert process.exitcode == 0


def test_a_folder_of_another_user(other_user: tuple[Path, Connection]) -> None:
    """As `cp -a` and rsync make them: private until it is filled. Then its files come, and later ones too."""
    root, sidecar = other_user
    (root / "album").mkdir(mode=0o700)
    time.sleep(0.3)
    (root / "album" / "a.jpg").write_bytes(b"1")
    until_indexed(sidecar, {"anchor.jpg"})
    (root / "album").chmod(0o755)
    until_indexed(sidecar, {"anchor.jpg", "album/a.jpg"})
    (root / "album" / "b.jpg").write_bytes(b"1")
    (root / "album" / "b.jpg").chmod(0o600)
    until_indexed(sidecar, {"anchor.jpg", "album/a.jpg", "album/b.jpg"}, unreadable={"album/b.jpg"})
    (root / "album" / "b.jpg").chmod(0o644)
    until_indexed(sidecar, {"anchor.jpg", "album/a.jpg", "album/b.jpg"})


@pytest.mark.parametrize("mode", [0o000, 0o700, 0o711])
def test_a_folder_that_is_closed_for_a_while(other_user: tuple[Path, Connection], mode: int) -> None:
    """What came while it was closed is found once it is as open as before, also in the folders below it."""
    root, sidecar = other_user
    (root / "album" / "deep").mkdir(parents=True)
    (root / "album" / "a.jpg").write_bytes(b"1")
    until_indexed(sidecar, {"anchor.jpg", "album/a.jpg"})
    (root / "album").chmod(mode)
    (root / "album" / "b.jpg").write_bytes(b"1")
    (root / "album" / "deep" / "c.jpg").write_bytes(b"1")
    time.sleep(0.3)
    (root / "album").chmod(0o755)
    until_indexed(sidecar, {"anchor.jpg", "album/a.jpg", "album/b.jpg", "album/deep/c.jpg"})


def until_indexed(sidecar: Connection, keys: AbstractSet[str], unreadable: AbstractSet[str] = frozenset()) -> None:
    """Wait until the sidecar's index has exactly these keys, some of them as unreadable."""
    deadline = time.monotonic() + 20
    while True:
        sidecar.send("index")
        index = sidecar.recv()
        if index.keys() == keys and {key for key, state in index.items() if state[1]} == unreadable:
            return
        assert time.monotonic() < deadline, index
        time.sleep(0.02)


async def test_names_that_do_not_count(source: Make, filled: Path, listen: Listen) -> None:
    """Of hidden and unfinished files, of links and of names that are no text nothing is heard."""
    async with listen(source()) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        (filled / ".cache").mkdir()
        for key in (b".hidden.jpg", b".cache/a.jpg", b"a.jpg.tmp", b"\xff\xfe.jpg"):
            Path(os.fsdecode(bytes(filled) + b"/" + key)).write_bytes(b"1")
        os.mkfifo(filled / "pipe.jpg")
        (filled / "last.jpg").write_bytes(b"1")
        await heard.until(lambda: "last.jpg" in heard.keys)

        assert ["last.jpg"] == heard.keys


async def test_our_own_writes_are_not_heard(
    source: Make, store: Callable[..., DirectoryStore], filled: Path, listen: Listen
) -> None:
    """Labels that are written on a file make no event."""
    (filled / "a.jpg").write_bytes(b"1")
    made = store()
    async with listen(source()) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        for number in range(5):
            state = await made.stat(ObjectRef("photos", "a.jpg"))
            assert state is not None
            await made.rewrite(Rewrite(state=state, metadata={"imgtag-mark": str(number)}))
        async with made.open(ObjectRef("photos", "a.jpg")) as body:
            assert body is not None
            await body.read(10)
        (filled / "last.jpg").write_bytes(b"1")
        await heard.until(lambda: "last.jpg" in heard.keys)

        assert ["last.jpg"] == heard.keys


async def test_a_root_that_is_not_there(source: Make, root: Path, listen: Listen) -> None:
    """Nothing comes until the root does; then all is compared, and again when another took its place."""
    root.rmdir()
    async with listen(source()) as heard:
        await anyio.sleep(0.3)
        assert [] == heard.deliveries
        root.mkdir()
        (root / "a.jpg").write_bytes(b"1")
        await heard.until(lambda: heard.resyncs == [WHOLE])
        root.rename(root.with_name("old"))
        await anyio.sleep(0.3)
        root.mkdir()
        (root / "a.jpg").write_bytes(b"1")
        await heard.until(lambda: heard.resyncs == [WHOLE, WHOLE])
        await anyio.sleep(0.3)
        (root / "b.jpg").write_bytes(b"1")
        await heard.until(lambda: "b.jpg" in heard.keys)

        assert [] == heard.removed


async def test_an_empty_root(source: Make, root: Path, listen: Listen, caplog: pytest.LogCaptureFixture) -> None:
    """A root with nothing in it is compared only once there is something in it."""
    async with listen(source()) as heard:
        await heard.until(lambda: "root_unwatched" in caplog.messages)
        await anyio.sleep(0.3)
        assert [] == heard.deliveries
        (root / "a.jpg").write_bytes(b"1")
        await heard.until(lambda: heard.keys == ["a.jpg"] and heard.resyncs == [WHOLE])


async def test_the_marker_comes_and_goes(source: Make, filled: Path, listen: Listen) -> None:
    """Without its marker nothing counts as removed; when it is back all is compared."""
    (filled / ".mounted").touch()
    async with listen(source(marker=".mounted")) as heard:
        await heard.until(lambda: heard.resyncs == [WHOLE])
        (filled / ".mounted").unlink()
        (filled / "here.jpg").unlink()
        await anyio.sleep(0.4)
        assert [] == heard.removed
        (filled / ".mounted").touch()
        await heard.until(lambda: heard.resyncs == [WHOLE, WHOLE])


def mount(*words: str) -> None:
    if run(["mount", *words], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount")
async def test_mounted_over_and_unmounted(source: Make, filled: Path, listen: Listen) -> None:
    """A file system mounted on the root is another root, and so is what is there without it."""
    async with listen(source()) as heard:
        await heard.until(lambda: len(heard.resyncs) == 1)
        await anyio.to_thread.run_sync(mount, "-t", "ramfs", "ramfs", str(filled))
        try:
            (filled / "mounted.jpg").write_bytes(b"1")
            await heard.until(lambda: len(heard.resyncs) == 2)
            await anyio.sleep(0.3)
            (filled / "more.jpg").write_bytes(b"1")
            await heard.until(lambda: "more.jpg" in heard.keys)
        finally:
            await anyio.to_thread.run_sync(lambda: run(["umount", filled], check=True))
        await heard.until(lambda: len(heard.resyncs) == 3)

        assert [] == heard.removed


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to mount")
async def test_a_folder_is_mounted_over_and_unmounted(source: Make, filled: Path, listen: Listen) -> None:
    """What is mounted on a folder is noticed at once, not at the next check, and so is that it is unmounted."""
    (filled / "disk" / "deep").mkdir(parents=True)
    async with listen(source(recheck=3600)) as heard:
        await heard.until(lambda: len(heard.resyncs) == 1)
        await anyio.to_thread.run_sync(mount, "-t", "ramfs", "ramfs", str(filled / "disk"))
        try:
            await heard.until(lambda: heard.resyncs[1:] == ["photos/disk/"])
            (filled / "disk" / "mounted.jpg").write_bytes(b"1")
            await heard.until(lambda: "disk/mounted.jpg" in heard.keys)
        finally:
            await anyio.to_thread.run_sync(lambda: run(["umount", "-l", filled / "disk"], check=True))
        await heard.until(lambda: heard.resyncs[2:] == ["photos/disk/"])
        (filled / "disk" / "deep" / "covered.jpg").write_bytes(b"1")
        await heard.until(lambda: "disk/deep/covered.jpg" in heard.keys)


async def test_events_that_were_lost(
    source: Make, filled: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the kernel's queue overflows all is compared again, and watching goes on."""
    go = threading.Event()
    read = InotifyFD.read_events
    monkeypatch.setattr(InotifyFD, "read_events", lambda self: go.wait(30) and read(self))
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    async with listen(source()) as heard:
        await heard.until(lambda: len(heard.resyncs) == 1)
        for number in range(limit // 2 + 100):
            (filled / f"{number % 1000}.tmp").touch()
            (filled / f"{number % 1000}.tmp").unlink()
        go.set()
        await heard.until(lambda: len(heard.resyncs) == 2)
        (filled / "a.jpg").write_bytes(b"1")
        await heard.until(lambda: "a.jpg" in heard.keys)


def _inotify_threads() -> list[InotifyFD]:
    return [thread for thread in threading.enumerate() if isinstance(thread, InotifyFD)]


@pytest.mark.parametrize("folder", ["photos", "sub"])
async def test_the_limit_of_inotify(
    source: Make, filled: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """Where the root, or only a folder below it, can no longer be watched, the source polls and says so."""
    (filled / "sub").mkdir()
    add = FolderTree._add

    def limited(self: FolderTree, prefix: str) -> Any:
        if f"photos/{prefix}".endswith(f"{folder}/"):
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return add(self, prefix)

    monkeypatch.setattr(FolderTree, "_add", limited)
    made = source(poll=0.1)
    async with listen(made) as heard:
        await heard.until(lambda: bool(heard.resyncs))
        (filled / "sub" / "a.jpg").write_bytes(b"1")
        await heard.until(lambda: "sub/a.jpg" in heard.keys)
        (check,) = [check async for check in made.checks()]

    assert made.polled
    assert not check.ok
    assert "max_user_watches" in check.hint


async def test_polling(source: Make, filled: Path, listen: Listen, store: Callable[..., DirectoryStore]) -> None:
    """All kinds of changes are found by looking again and again; our own writes are none."""
    for name in ("over", "gone", "old"):
        (filled / f"{name}.jpg").write_bytes(b"1")
    made = store()
    async with listen(source(watch="poll", poll=0.1)) as heard:
        await heard.until(lambda: heard.resyncs == [WHOLE])
        state = await made.stat(ObjectRef("photos", "here.jpg"))
        assert state is not None
        await made.rewrite(Rewrite(state=state, metadata={"imgtag-mark": "1"}))
        (filled / "over.jpg").write_bytes(b"22")
        (filled / "gone.jpg").unlink()
        (filled / "old.jpg").rename(filled / "new.jpg")
        (filled / "sub").mkdir()
        (filled / "sub" / "a\nb.jpg").write_bytes(b"1")
        await heard.until(lambda: len(heard.keys) >= 3 and len(heard.removed) >= 2)
        await anyio.sleep(0.5)

        assert ["new.jpg", "over.jpg", "sub/a\nb.jpg"] == sorted(heard.keys)
        assert ["gone.jpg", "old.jpg"] == sorted(heard.removed)


async def test_polling_an_absent_root(source: Make, filled: Path, listen: Listen) -> None:
    """A root that went is not taken for one that was emptied, and is compared when it is back."""
    async with listen(source(watch="poll", poll=0.1)) as heard:
        await heard.until(lambda: len(heard.resyncs) == 1)
        filled.rename(filled.with_name("away"))
        filled.mkdir()
        await anyio.sleep(0.5)
        filled.rmdir()
        filled.with_name("away").rename(filled)
        await heard.until(lambda: len(heard.resyncs) == 2)

        assert [] == heard.removed


async def test_published_hints_wait_for_who_runs(source: Make, filled: Path, listen: Listen, state_dir: Path) -> None:
    """Hints of another process are there until they are acknowledged, and no longer."""
    hint = Hint(ref=ObjectRef("photos", "é/a.jpg"), intent=Intent.STALE, etag='"1"', metadata={"a": "b"}, at=1.5)
    async with source() as publisher:
        await publisher.publish([hint, Hint(ref=ObjectRef("photos", "b.jpg"), removed=True)])
    async with source() as killed:
        deliveries = killed.deliveries()
        while not (delivery := await anext(deliveries)).hints:
            pass
        assert delivery.hints
        await deliveries.aclose()
    async with listen(source()) as heard:
        await heard.until(lambda: len(heard.keys) == 1 and len(heard.removed) == 1)
        assert hint in [hint for delivery in heard.deliveries for hint in delivery.hints]
        await heard.until(lambda: not list((state_dir / "inbox").glob("*.json")))


async def test_a_broken_file_in_the_inbox(
    source: Make, filled: Path, listen: Listen, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no hint is passed over and said, and those after it come."""
    (state_dir / "inbox").mkdir(parents=True)
    (state_dir / "inbox" / "0-broken.json").write_text('{"ref":')
    async with listen(source()) as heard:
        async with source() as publisher:
            await publisher.publish([Hint(ref=ObjectRef("photos", "b.jpg"))])
        await heard.until(lambda: heard.keys == ["b.jpg"])

    assert "0-broken" in [record.__dict__.get("file") for record in caplog.records]


async def test_a_file_in_the_inbox_that_cannot_be_read_now(
    source: Make,
    filled: Path,
    listen: Listen,
    state_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those before it and after it come, it is said once, and the file is tried until it can be read."""
    monkeypatch.setattr(inbox, "INTERVAL", 0.02)
    async with source() as publisher:
        for key in ("a.jpg", "b.jpg", "c.jpg"):
            await publisher.publish([Hint(ref=ObjectRef("photos", key))])
    _, file, _ = sorted((state_dir / "inbox").glob("*.json"))
    kept = file.rename(state_dir / "kept")
    file.mkdir()
    async with listen(source()) as heard:
        await heard.until(lambda: sorted(heard.keys) == ["a.jpg", "c.jpg"])
        await anyio.sleep(0.1)
        file.rmdir()
        kept.rename(file)
        await heard.until(lambda: sorted(heard.keys) == ["a.jpg", "b.jpg", "c.jpg"])
        await heard.until(lambda: not list((state_dir / "inbox").glob("*.json")))

    (reason,) = [record.__dict__["reason"] for record in caplog.records if record.message == "inbox_unreadable"]
    assert file.name in reason


async def test_watching_costs_nothing_until_it_is_asked_for(source: Make, filled: Path) -> None:
    """A process that only publishes watches nothing, and closing the iterator ends what it began."""
    async with source() as made:
        assert [] == _inotify_threads()
        deliveries = made.deliveries()
        await anext(deliveries)
        assert _inotify_threads()
        await deliveries.aclose()
        with anyio.fail_after(5):
            while _inotify_threads():
                await anyio.sleep(0.01)


async def test_errors_of_the_caller_stay_as_they_are(source: Make, filled: Path) -> None:
    """What is raised inside the source's context comes out of it unwrapped, also while it watches."""

    async def fail() -> None:
        async with source() as made:
            await anext(made.deliveries())
            raise KeyError

    with pytest.raises(KeyError):
        await fail()


def test_needs_a_root(state_dir: Path) -> None:
    """Without a root of its own and without a folder as the store there is nothing to watch."""
    with pytest.raises(ConfigError):
        DirectorySource(DirectorySourceSettings(), PluginContext(site="test", state_dir=state_dir))


async def test_created_objects_are_heard_of_once(
    source: Make, store: Callable[..., DirectoryStore], filled: Path, listen: Listen
) -> None:
    """The picture that the store itself makes comes whole under its name, and is heard of under no other."""
    async with listen(source()) as heard:
        await heard.until(lambda: heard.resyncs == [WHOLE])
        await store().create(ObjectRef("photos", "a.jpg"), b"picture", "image/jpeg")
        await heard.until(lambda: bool(heard.keys))
        await store().erase(ObjectRef("photos", "a.jpg"))
        await heard.until(lambda: bool(heard.removed))

    assert (["a.jpg"], ["a.jpg"]) == (heard.keys, heard.removed)
