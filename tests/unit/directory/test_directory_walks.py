"""Random changes of a folder by two users, and after each walk the index has what is there.

``IMGTAG_WALKS`` walks of ``IMGTAG_WALK_STEPS`` steps; the seeds are 0, 1, 2 ... and those that found a fault once.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from imgtag_directory.mounts import mounts_below
from unit.directory.walker import serve

WALKS = int(os.environ.get("IMGTAG_WALKS", "4"))
STEPS = int(os.environ.get("IMGTAG_WALK_STEPS", "100"))
SEEDS = sorted({*range(WALKS), 50, 652})
PATIENCE = 30.0
"""Seconds in which the index must agree."""
USERS = (65533, 65532)
"""The sidecar's and another one; both are root's guests."""
AS_ROOT = os.geteuid() == 0
RENAME_EXCHANGE, AT_FDCWD = 2, -100
MODES = (0o000, 0o400, 0o500, 0o600, 0o644, 0o700, 0o711, 0o744, 0o755)
libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Seen:
    """A file as the sidecar's user sees it: ETag, what forbids reading, what forbids writing."""

    state: tuple[str, str | None, str | None]
    inode: int


class Walk:
    """Changes a folder at random. Names are few, so that paths collide."""

    def __init__(self, base: Path, random: Random) -> None:
        self.root, self.outside = base / "photos", base / "outside"
        self.random = random
        self.log: list[str] = []
        self.unseen: set[int] = set()
        """Inodes that were changed through a name that the sidecar cannot see, and have others."""

    @property
    def mounted(self) -> list[Path]:
        """Where something is mounted; a mount moves with the folders above it."""
        return [self.root / prefix for prefix in sorted(mounts_below(self.root))] if AS_ROOT else []

    def step(self) -> None:
        """One change; those that are impossible at the moment are none."""
        changes: list[Callable[[], object]] = [
            self.write, self.write, self.write, self.append, self.mkdir, self.mkdir, self.mkdirs, self.chmod,
            self.chmod, self.chmod, self.rename, self.rename, self.rename, self.exchange, self.exchange, self.link,
            self.unlink, self.rmtree, self.move_out, self.move_in, self.symlink,
        ]  # fmt: skip
        if AS_ROOT:
            changes += [self.chown, self.chown, self.mount, self.unmount]
        change = self.random.choice(changes)
        with contextlib.suppress(OSError):
            change()
        if self.random.random() < 0.15:
            time.sleep(self.random.choice((0.002, 0.02, 0.08)))

    def path(self, name: str) -> Path:
        folders = self.random.choices(("a", "b", "c"), k=self.random.choice((0, 0, 1, 1, 2, 3)))
        return self.root.joinpath(*folders, name)

    def folder(self) -> Path:
        return self.path(self.random.choice("abc"))

    def file(self) -> Path:
        return self.path(self.random.choice(("1.jpg", "2.jpg")))

    def any(self) -> Path:
        return self.random.choice((self.folder, self.file))()

    def existing(self, kind: str = "any") -> Path:
        mounted = self.mounted
        paths = [path for path in self.root.rglob("*") if path.name != "anchor.jpg" and path not in mounted]
        wanted = [path for path in paths if kind == "any" or path.is_dir() == (kind == "folder")]
        if not wanted:
            raise FileNotFoundError
        return self.random.choice(sorted(wanted))

    def note(self, *words: object) -> None:
        self.log.append(" ".join(str(word).replace(str(self.root.parent), "") for word in words))

    def pause(self, path: Path) -> None:
        """A change through one of several names counts for the others only if that name is seen, and stays."""
        status = path.stat()
        if status.st_nlink > 1:
            time.sleep(0.05)
            with _as_user():
                try:
                    path.stat()
                    os.scandir(path.resolve().parent).close()
                except PermissionError:
                    self.unseen.add(status.st_ino)

    def own(self, path: Path) -> None:
        if AS_ROOT:
            os.chown(path, self.random.choice(USERS), -1)

    def write(self) -> None:
        path = self.file()
        path.write_bytes(self.random.randbytes(self.random.randrange(1, 9)))
        self.own(path)
        self.pause(path)
        self.note("write", path)

    def append(self) -> None:
        path = self.existing("file")
        with path.open("ab") as file:
            file.write(b"more")
        self.pause(path)
        self.note("append", path)

    def mkdir(self) -> None:
        path = self.folder()
        path.mkdir(mode=self.random.choice((0o700, 0o755)))
        self.own(path)
        self.note("mkdir", path)

    def mkdirs(self) -> None:
        path = self.path("c") / "b" / "a"
        path.mkdir(parents=True)
        (path / "1.jpg").write_bytes(b"deep")
        self.note("mkdirs", path)

    def chmod(self) -> None:
        path, mode = self.existing(), self.random.choice(MODES)
        path.chmod(mode)
        self.pause(path)
        self.note("chmod", f"{mode:o}", path)

    def chown(self) -> None:
        path = self.existing()
        self.own(path)
        self.pause(path)
        self.note("chown", path)

    def rename(self) -> None:
        source, target = self.existing(), self.any()
        source.rename(target)
        self.note("rename", source, target)

    def exchange(self) -> None:
        source, target = self.existing(self.random.choice(("any", "folder"))), self.existing("folder")
        if libc.renameat2(AT_FDCWD, bytes(source), AT_FDCWD, bytes(target), RENAME_EXCHANGE):
            raise OSError(ctypes.get_errno(), "renameat2")
        self.note("exchange", source, target)

    def link(self) -> None:
        source, target = self.existing("file"), self.file()
        os.link(source, target)
        self.note("link", source, target)

    def symlink(self) -> None:
        source, target = self.existing(), self.any()
        target.symlink_to(source)
        self.note("symlink", source, target)

    def unlink(self) -> None:
        path = self.existing("file")
        path.unlink()
        self.note("unlink", path)

    def rmtree(self) -> None:
        path = self.existing("folder")
        if any(path == mounted or path in mounted.parents for mounted in self.mounted):
            return
        shutil.rmtree(path)
        self.note("rmtree", path)

    def move_out(self) -> None:
        path, target = self.existing(), self.outside / str(self.random.randrange(3))
        path.rename(target)
        self.note("move_out", path, target)

    def move_in(self) -> None:
        path, target = self.outside / str(self.random.randrange(3)), self.any()
        path.rename(target)
        self.note("move_in", path, target)

    def mount(self) -> None:
        path = self.existing("folder")
        if path.is_symlink() or not _mounted(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]):
            return
        path.chmod(0o755)
        (path / "1.jpg").write_bytes(b"mounted")
        self.note("mount", path)

    def unmount(self) -> None:
        if self.mounted:
            path = self.random.choice(self.mounted)
            _mounted(["umount", "-l", str(path)])
            self.note("unmount", path)

    def truth(self) -> tuple[dict[str, Seen], list[str]]:
        """What the sidecar's user sees, and the places where that user cannot see anything."""
        seen: dict[str, Seen] = {}
        hidden: list[str] = []
        with _as_user():
            _look_into(self.root, "", seen, hidden)
        return seen, hidden


def _mounted(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def _as_user() -> Iterator[None]:
    if not AS_ROOT:
        yield
        return
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(USERS[0])
    os.seteuid(USERS[0])
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _look_into(folder: Path, prefix: str, seen: dict[str, Seen], hidden: list[str]) -> None:
    try:
        entries = list(os.scandir(folder))
        os.close(os.open(f"{folder}/.", os.O_PATH))  # a folder that may not be entered tells nothing of what is in it
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _look_into(folder / entry.name, f"{prefix}{entry.name}/", seen, hidden)
            elif not entry.is_symlink():
                status = entry.stat(follow_symlinks=False)
                etag = f'"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"'
                seen[f"{prefix}{entry.name}"] = Seen((etag, *_allowed(folder / entry.name)), status.st_ino)
    except PermissionError:
        hidden.append(prefix)
        for key in [key for key in seen if key.startswith(prefix)]:
            del seen[key]


def _allowed(path: Path) -> tuple[str | None, str | None]:
    """What forbids reading, and what forbids writing where reading is allowed."""
    if not os.access(path, os.R_OK, effective_ids=True):
        return "permission", None
    return None, None if os.access(path, os.W_OK, effective_ids=True) else "permission"


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Connection]:
    """The other end of the process that watches."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, USERS[0] if AS_ROOT else None), daemon=True)
    process.start()
    theirs.close()
    yield ours
    ours.send(None)
    process.join(10)
    assert process.exitcode == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_random_changes_by_two_users(sidecar: Connection, seed: int) -> None:
    """Once the changes end, the index has every object that may be seen, and none that is known to be gone."""
    with TemporaryDirectory() as base:
        walk = Walk(Path(base), Random(seed))
        try:
            _run(walk, sidecar)
        finally:
            while AS_ROOT and (prefixes := mounts_below(Path(base))):
                _mounted(["umount", "-l", str(Path(base) / min(prefixes))])


def _run(walk: Walk, sidecar: Connection) -> None:
    walk.root.mkdir()
    walk.outside.mkdir()
    state = walk.root.parent / "state"
    state.mkdir()
    (walk.root / "anchor.jpg").write_bytes(b"1")
    if AS_ROOT:
        os.chown(state, USERS[0], -1)
        walk.root.parent.chmod(0o711)
    for _ in range(STEPS // 5):
        walk.step()
    sidecar.send(str(walk.root))
    for _ in range(STEPS):
        walk.step()
    deadline = time.monotonic() + PATIENCE
    while (wrong := _differences(walk, sidecar)) and time.monotonic() < deadline:
        time.sleep(0.02)
    sidecar.send("stop")
    assert sidecar.recv() == "stopped"

    assert not wrong, "\n".join([*walk.log, *wrong])


def _differences(walk: Walk, sidecar: Connection) -> list[str]:
    sidecar.send("index")
    index = sidecar.recv()
    seen, hidden = walk.truth()
    missing = [
        f"{key}: {index.get(key)} and not {file.state}"
        for key, file in seen.items()
        if key not in index or (index[key] != file.state and file.inode not in walk.unseen)
    ]
    extra = [key for key in index.keys() - seen.keys() if not key.startswith(tuple(hidden))]
    return missing + [f"{key}: gone" for key in extra]
