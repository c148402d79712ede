"""The folder as a store, on a real folder."""

# ruff: noqa: ASYNC240 - what the tests themselves do to the folder is short

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest

from imgtag.errors import BucketAbsent, Conflict, Unavailable, Unreadable, WriteRefused
from imgtag.plugin.store import Rewrite
from imgtag.types.ref import ObjectRef, Scope
from imgtag_directory import checks
from imgtag_directory.store import DirectoryStore

pytestmark = pytest.mark.anyio
Make = Callable[..., DirectoryStore]


def ref(key: str) -> ObjectRef:
    return ObjectRef("photos", key)


def attributes(path: Path) -> dict[str, str]:
    return {name: os.getxattr(path, name).decode() for name in os.listxattr(path)}


async def test_stat(store: Make, root: Path) -> None:
    """An object is told with ETag, size, time, type and its text attributes; names stay as the user wrote them."""
    path = root / "a.JPG"
    path.write_bytes(b"picture")
    os.setxattr(path, "user.Licence", "© me".encode())
    os.setxattr(path, "user.binary", b"\xff\xfe")
    state = await store().stat(ref("a.JPG"))
    status = path.stat()

    assert state is not None
    assert f'"{status.st_ino:x}-7-{status.st_mtime_ns:x}"' == state.etag
    assert (7, status.st_mtime, "image/jpeg") == (state.size, state.modified, state.content_type)
    assert {"Licence": "© me"} == dict(state.metadata)
    assert state.unreadable is None
    assert state.version is None


async def test_etag_changes_with_the_bytes_only(store: Make, root: Path) -> None:
    """Attributes and modes change no ETag; new bytes do, and so does another file in the same place."""
    path = root / "a.jpg"
    path.write_bytes(b"1")
    made = store()
    etags = []
    for change in (
        lambda: None,
        lambda: os.setxattr(path, "user.x", b"1"),
        lambda: path.chmod(0o600),
        lambda: os.utime(path, ns=(0, 12345)),
        lambda: (path.rename(root / "old.jpg"), path.write_bytes(b"1")),
    ):
        change()
        state = await made.stat(ref("a.jpg"))
        assert state is not None
        etags.append(state.etag)

    assert etags[0] == etags[1] == etags[2]
    assert 3 == len(set(etags))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a.jpg",
        "../photos/a.jpg",
        "sub/../a.jpg",
        "./a.jpg",
        "sub//b.jpg",
        "sub",
        "sub/",
        "a.jpg/",
        "a.jpg/b",
        "a\x00.jpg",
        "no.jpg",
        ".hidden.jpg",
        ".cache/b.jpg",
        "x.part",
        "y.jpg~",
        "@eaDir/b.jpg",
        "\udcff.jpg",
        "n" * 300,
    ],
)
async def test_absent(store: Make, root: Path, key: str) -> None:
    """Tricks with paths lead nowhere, and names that are never objects are absent."""
    for path in ("a.jpg", "sub/b.jpg", ".hidden.jpg", ".cache/b.jpg", "x.part", "y.jpg~", "@eaDir/b.jpg"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"1")
    made = store()

    assert await made.stat(ref(key)) is None
    async with made.open(ref(key)) as body:
        assert body is None


async def test_another_bucket_is_absent(store: Make) -> None:
    """There is one bucket."""
    made = store()
    with pytest.raises(BucketAbsent):
        await made.stat(ObjectRef("other", "a.jpg"))
    with pytest.raises(BucketAbsent):
        [listed async for listed in made.list(Scope("other"))]
    assert ("photos",) == await made.buckets()


async def test_read(store: Make, root: Path) -> None:
    """The bytes are read as they are; over the limit they are refused."""
    (root / "a.jpg").write_bytes(b"picture")
    made = store()
    async with made.open(ref("a.jpg")) as body:
        assert body is not None
        assert b"picture" == await body.read(7)
        assert b"picture" == await body.read(7)
        with pytest.raises(Unreadable) as refused:
            await body.read(6)
    assert "too_large" == refused.value.code


async def test_read_of_another_etag(store: Make, root: Path) -> None:
    """An ETag that is not the object's is a conflict."""
    (root / "a.jpg").write_bytes(b"picture")
    with pytest.raises(Conflict):
        async with store().open(ref("a.jpg"), if_match='"other"'):
            pass


async def test_read_while_it_is_written(store: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changed since it was opened is a conflict, and never a mixture."""
    monkeypatch.setattr("imgtag_directory.store.MAX_READ_AHEAD", 0)
    path = root / "a.jpg"
    path.write_bytes(b"picture")
    async with store().open(ref("a.jpg")) as body:
        assert body is not None
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(Conflict):
            await body.read(100)


async def test_read_of_a_replaced_file(store: Make, root: Path) -> None:
    """A file that another took the place of is still read as it was."""
    path = root / "a.jpg"
    path.write_bytes(b"picture")
    async with store().open(ref("a.jpg")) as body:
        assert body is not None
        (root / "b.jpg").write_bytes(b"another")
        (root / "b.jpg").rename(path)
        assert b"picture" == await body.read(100)


async def test_links_out_of_the_root(store: Make, root: Path, tmp_path: Path) -> None:
    """A link to a file outside is shown and never read; other links are no objects."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"secret")
    (root / "real.jpg").write_bytes(b"1")
    for name, target in {
        "out.jpg": tmp_path / "outside" / "secret.jpg",
        "relative.jpg": Path("../outside/secret.jpg"),
        "folder": tmp_path / "outside",
        "in.jpg": root / "real.jpg",
        "broken.jpg": root / "gone.jpg",
        "device.jpg": Path("/dev/zero"),
    }.items():
        (root / name).symlink_to(target)
    made = store()
    for key in ("out.jpg", "relative.jpg"):
        state = await made.stat(ref(key))
        assert state is not None
        assert "outside_root" == state.unreadable
        async with made.open(ref(key)) as body:
            assert body is not None
            with pytest.raises(Unreadable) as refused:
                await body.read(100)
        assert "outside_root" == refused.value.code
        with pytest.raises(WriteRefused):
            await made.rewrite(Rewrite(state=state, metadata={"imgtag-mark": "m"}))
    for key in ("folder/secret.jpg", "folder", "in.jpg", "broken.jpg", "device.jpg"):
        assert await made.stat(ref(key)) is None
    assert ["out.jpg", "real.jpg", "relative.jpg"] == [listed.ref.key async for listed in made.list(Scope("photos"))]
    assert {} == attributes(tmp_path / "outside" / "secret.jpg")


async def test_the_root_may_be_a_link(store: Make, root: Path, tmp_path: Path) -> None:
    """The bucket is named after the link."""
    (root / "a.jpg").write_bytes(b"1")
    (tmp_path / "camera").symlink_to(root)
    made = store(root=tmp_path / "camera")

    assert ("camera",) == await made.buckets()
    assert await made.stat(ObjectRef("camera", "a.jpg")) is not None
    assert ["a.jpg"] == [listed.ref.key async for listed in made.list(Scope("camera"))]


async def test_what_is_no_file_is_never_opened(store: Make, root: Path) -> None:
    """A pipe without a writer holds nobody up."""
    os.mkfifo(root / "pipe.jpg")
    made = store()
    with anyio.fail_after(5):
        assert await made.stat(ref("pipe.jpg")) is None
        async with made.open(ref("pipe.jpg")) as body:
            assert body is None
        assert [] == [listed async for listed in made.list(Scope("photos"))]


async def test_an_empty_root_is_not_believed(store: Make, root: Path) -> None:
    """A folder with nothing in it may be a mount point: nothing counts as deleted, until something was seen there."""
    made = store()
    with pytest.raises(BucketAbsent):
        await made.stat(ref("a.jpg"))
    with pytest.raises(BucketAbsent):
        [listed async for listed in made.list(Scope("photos"))]
    (root / "a.jpg").write_bytes(b"1")
    assert await made.stat(ref("a.jpg")) is not None
    (root / "a.jpg").unlink()

    assert await made.stat(ref("a.jpg")) is None
    assert [] == [listed async for listed in made.list(Scope("photos"))]


async def test_another_empty_root_is_not_believed(store: Make, root: Path) -> None:
    """What was seen in one folder says nothing of another in its place."""
    (root / "a.jpg").write_bytes(b"1")
    made = store()
    assert await made.stat(ref("a.jpg")) is not None
    root.rename(root.with_name("unmounted"))
    with pytest.raises(BucketAbsent):
        await made.stat(ref("a.jpg"))
    root.mkdir()
    with pytest.raises(BucketAbsent):
        await made.stat(ref("a.jpg"))
    root.rmdir()
    root.with_name("unmounted").rename(root)

    assert await made.stat(ref("a.jpg")) is not None


async def test_the_marker_decides(store: Make, root: Path) -> None:
    """With a marker an empty folder is believed while the marker is there; the marker is no object."""
    made = store(marker="MOUNTED")
    (root / "a.jpg").write_bytes(b"1")
    with pytest.raises(BucketAbsent):
        await made.stat(ref("a.jpg"))
    (root / "MOUNTED").touch()
    assert await made.stat(ref("a.jpg")) is not None
    (root / "a.jpg").unlink()

    assert await made.stat(ref("a.jpg")) is None
    assert await made.stat(ref("MOUNTED")) is None
    assert [] == [listed async for listed in made.list(Scope("photos"))]


async def test_rewrite(store: Make, root: Path) -> None:
    """Ours are set, changed and removed, the user's are kept, the bytes and the ETag stay."""
    path = root / "a.jpg"
    path.write_bytes(b"picture")
    os.setxattr(path, "user.Licence", b"mine")
    os.setxattr(path, "user.binary", b"\xff")
    made = store()
    state = await made.stat(ref("a.jpg"))
    assert state is not None
    first = {"Licence": "mine", "imgtag_red+fox": "0.59", "imgtag_dog": "0.11", "imgtag-mark": "1"}
    second = {"Licence": "mine", "imgtag_red+fox": "0.60", "imgtag-mark": "2"}
    labelled = await made.rewrite(Rewrite(state=state, metadata=first))
    assert first == dict(labelled.metadata)
    again = await made.rewrite(Rewrite(state=labelled, metadata=second))

    assert second == dict(again.metadata)
    assert state.etag == again.etag
    assert b"picture" == path.read_bytes()
    assert b"\xff" == os.getxattr(path, "user.binary")
    assert {"Licence": "mine"} == dict(
        (await made.rewrite(Rewrite(state=again, metadata={"Licence": "mine"}))).metadata
    )


async def test_the_mark_goes_first_and_comes_last(store: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every moment of a rewrite either all is as before, or there is no mark, or all is done."""
    path = root / "a.jpg"
    path.write_bytes(b"picture")
    made = store()
    state = await made.stat(ref("a.jpg"))
    assert state is not None
    before = {"imgtag_a": "1", "imgtag_b": "1", "imgtag-mark": "1"}
    after = {"imgtag_b": "2", "imgtag_c": "2", "imgtag-mark": "2"}
    state = await made.rewrite(Rewrite(state=state, metadata=before))
    seen: list[dict[str, str]] = []

    def watched(call: Any) -> Any:
        def wrapped(*args: Any) -> None:
            call(*args)
            seen.append({name.removeprefix("user."): value for name, value in attributes(path).items()})

        return wrapped

    monkeypatch.setattr(os, "setxattr", watched(os.setxattr))
    monkeypatch.setattr(os, "removexattr", watched(os.removexattr))
    await made.rewrite(Rewrite(state=state, metadata=after))

    assert all("imgtag-mark" not in names for names in seen[:-1])
    assert after == seen[-1]


async def test_a_file_that_was_replaced_is_not_marked(store: Make, root: Path) -> None:
    """Between looking and writing another file took the place: conflict, and it carries nothing of ours."""
    path = root / "a.jpg"
    path.write_bytes(b"picture")
    made = store()
    state = await made.stat(ref("a.jpg"))
    assert state is not None
    (root / "new.tmp").write_bytes(b"picture")
    (root / "new.tmp").rename(path)
    with pytest.raises(Conflict):
        await made.rewrite(Rewrite(state=state, metadata={"imgtag-mark": "1"}))
    assert {} == attributes(path)
    path.unlink()
    with pytest.raises(Conflict):
        await made.rewrite(Rewrite(state=state, metadata={"imgtag-mark": "1"}))


async def test_a_file_that_is_replaced_meanwhile_is_not_marked(
    store: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced in the middle of the write: conflict, and what came keeps clean."""
    path = root / "a.jpg"
    path.write_bytes(b"picture")
    made = store()
    state = await made.stat(ref("a.jpg"))
    assert state is not None
    write = os.setxattr

    def replacing(*args: Any) -> None:
        write(*args)
        (root / "new.tmp").write_bytes(b"another")
        (root / "new.tmp").rename(path)

    monkeypatch.setattr(os, "setxattr", replacing)
    with pytest.raises(Conflict):
        await made.rewrite(Rewrite(state=state, metadata={"imgtag_a": "1", "imgtag-mark": "1"}))

    assert {} == attributes(path)


async def test_a_file_written_meanwhile_gets_no_mark(store: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New bytes in the same file in the middle of the write: conflict, and no mark on them."""
    path = root / "a.jpg"
    path.write_bytes(b"picture")
    made = store()
    state = await made.stat(ref("a.jpg"))
    assert state is not None
    write = os.setxattr

    def growing(*args: Any) -> None:
        write(*args)
        path.write_bytes(b"other bytes")

    monkeypatch.setattr(os, "setxattr", growing)
    with pytest.raises(Conflict):
        await made.rewrite(Rewrite(state=state, metadata={"imgtag_a": "1", "imgtag-mark": "1"}))

    assert "user.imgtag-mark" not in attributes(path)


async def test_a_user_who_tags_meanwhile_is_a_conflict(store: Make, root: Path) -> None:
    """Metadata that changed since the state was taken is looked at again, and nothing is lost."""
    path = root / "a.jpg"
    path.write_bytes(b"picture")
    made = store()
    state = await made.stat(ref("a.jpg"))
    assert state is not None
    os.setxattr(path, "user.Licence", b"mine")
    with pytest.raises(Conflict):
        await made.rewrite(Rewrite(state=state, metadata={"imgtag-mark": "1"}))

    assert {"user.Licence": "mine"} == attributes(path)


@pytest.mark.parametrize(
    ("number", "code"), [(errno.EPERM, "permission"), (errno.EACCES, "permission"), (errno.EROFS, "read_only")]
)
async def test_refused(store: Make, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    """What may not be written on is refused, with the reason."""
    (root / "a.jpg").write_bytes(b"picture")
    made = store()
    state = await made.stat(ref("a.jpg"))
    assert state is not None

    def refuse(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(WriteRefused) as refused:
        await made.rewrite(Rewrite(state=state, metadata={"imgtag-mark": "1"}))

    assert code == refused.value.code


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
async def test_a_disk_that_does_not_answer(
    store: Make, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Trouble of the disk or the share is neither absence nor the object's fault."""
    monkeypatch.setattr("imgtag_directory.store.MAX_READ_AHEAD", 0)
    (root / "a.jpg").write_bytes(b"picture")
    made = store()

    def fail(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "listxattr", fail)
        with pytest.raises(Unavailable):
            await made.stat(ref("a.jpg"))
    async with made.open(ref("a.jpg")) as body:
        assert body is not None
        monkeypatch.setattr(os, "pread", fail)
        with pytest.raises(Unavailable):
            await body.read(100)


UNPRIVILEGED = textwrap.dedent(
    """
    import os, sys
    from pathlib import Path
    import anyio
    import anyio._backends._asyncio
    import concurrent.futures.thread
    from imgtag.errors import Unreadable, WriteRefused
    from imgtag.plugin.spec import PluginContext
    from imgtag.plugin.store import Rewrite
    from imgtag.types.ref import ObjectRef, Scope
    from imgtag_directory.settings import DirectoryStoreSettings
    from imgtag_directory.store import DirectoryStore

    async def main():
        root = Path(sys.argv[1])
        store = DirectoryStore(DirectoryStoreSettings(root=root), PluginContext(site="t", state_dir=root / "no"))
        state = await store.stat(ObjectRef("photos", "secret.jpg"))
        assert state.unreadable == "permission", state
        async with store.open(state.ref) as body:
            try:
                await body.read(10)
            except Unreadable as error:
                assert error.code == "permission"
            else:
                raise AssertionError
        state = await store.stat(ObjectRef("photos", "others.jpg"))
        assert state.readonly == "permission", state
        try:
            await store.rewrite(Rewrite(state=state, metadata={"imgtag-mark": "1"}))
        except WriteRefused as error:
            assert error.code == "permission"
        else:
            raise AssertionError
        try:
            await store.stat(ObjectRef("photos", "closed/a.jpg"))
        except Unreadable as error:
            assert error.code == "permission"
        else:
            raise AssertionError
        try:
            await store.stat(ObjectRef("photos", "listed/a.jpg"))
        except Unreadable as error:
            assert error.code == "permission"
        else:
            raise AssertionError
        assert ["others.jpg", "secret.jpg"] == [each.ref.key async for each in store.list(Scope("photos"))]
        checks = {check.check: check async for check in store.checks()}
        assert not checks["folders"].ok, checks

    # Last, because another user may not be able to read the modules.
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    anyio.run(main)
    """
)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_without_permission() -> None:
    """As a user who may not: unreadable files and folders are told as such, never as absent."""
    with TemporaryDirectory() as base:
        Path(base).chmod(0o711)
        without_permission(Path(base) / "photos")


def without_permission(root: Path) -> None:
    root.mkdir()
    (root / "secret.jpg").write_bytes(b"1")
    (root / "secret.jpg").chmod(0o600)
    (root / "others.jpg").write_bytes(b"1")
    (root / "others.jpg").chmod(0o644)
    (root / "closed").mkdir(mode=0o700)
    (root / "closed" / "a.jpg").write_bytes(b"1")
    (root / "listed").mkdir()
    (root / "listed" / "a.jpg").write_bytes(b"1")
    (root / "listed").chmod(0o744)
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, str(root)],
        env={"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr


async def test_checks(store: Make, root: Path) -> None:
    """Each dependency is told with what it is good for; names that are not UTF-8 are reported."""
    (root / "a.jpg").write_bytes(b"1")
    Path(os.fsdecode(bytes(root) + b"/\xff\xfe.jpg")).write_bytes(b"1")
    found = {check.check: check async for check in store().checks()}

    assert {"root": True, "marker": True, "attributes": True, "names": False} == {k: c.ok for k, c in found.items()}
    assert "\\xff\\xfe.jpg" in found["names"].message
    missing = [check async for check in store(root=root / "none").checks()]
    assert ["root"] == [check.check for check in missing]
    assert not missing[0].ok
    assert missing[0].hint
    assert () == tuple(await store().setup(apply=True))
    assert store().policy() is None


async def test_checks_say_what_is_passed_over(store: Make, root: Path) -> None:
    """How many of each kind, with an example; what is an image by its name or its first bytes does not count."""
    contents = {"a.jpg": b"1", "2024.05.01 Beach": b"\xff\xd8\xff\xe0", "IMG_1.jpg.1": b"GIF89a"}
    contents |= {"b\x1b[2J.txt": b"1", "sub/c.MOV": b"1", "README": b"hello", "empty": b""}
    contents |= {".DS_Store": b"1", "sub/d.jpg.part": b"1", "@eaDir/a.jpg": b"1"}
    for name, content in contents.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    (root / "sub" / "link.jpg").symlink_to(root / "a.jpg")
    os.mkfifo(root / "sub" / "pipe.jpg")
    found = {check.check: check async for check in store().checks()}

    assert found["passed over"].ok
    expected = (
        "2 with the suffix of another kind of file (such as 'b\\x1b[2J.txt'), "
        "2 no image by its content (such as 'README'), "
        "3 hidden, unfinished, or kept by another program (such as '.DS_Store'), "
        "2 a link, or no file (such as 'sub/link.jpg')"
    )
    assert expected == found["passed over"].message


async def test_checks_end_in_time(store: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder that takes too long, only what was seen is told."""
    monkeypatch.setattr(checks, "MAX_SECONDS", -1.0)
    (root / "a.jpg").write_bytes(b"1")
    found = {check.check: check async for check in store().checks()}

    assert "more than 0 files" in found["root"].message


async def test_create_in_an_empty_root(store: Make, root: Path) -> None:
    """A new folder has nothing in it yet, and will do; one without its marker is not mounted, and will not."""
    async with store() as made:
        state = await made.create(ref("a.jpg"), b"picture", "image/jpeg")
        assert [root / "a.jpg"] == list(root.iterdir())
        await made.erase(state.ref)
        assert await made.stat(state.ref) is None
    with pytest.raises(BucketAbsent):
        await store(marker=".mounted").create(ref("a.jpg"), b"picture", "image/jpeg")

    assert [] == list(root.iterdir())


@pytest.mark.parametrize(("key", "code"), [("no/folder/a.jpg", "absent"), ("../a.jpg", "key"), (".a.jpg", "key")])
async def test_create_where_no_object_can_be(store: Make, root: Path, key: str, code: str) -> None:
    """Folders are not made, nothing is written outside the root, and names that are passed over are refused."""
    with pytest.raises(WriteRefused) as refused:
        await store().create(ref(key), b"picture", "image/jpeg")

    assert code == refused.value.code
    assert [root] == list(root.parent.rglob("*"))


async def test_erase_stays_in_the_root(store: Make, root: Path) -> None:
    """What is no key is nothing that could be removed."""
    outside = root.parent / "a.jpg"
    outside.write_bytes(b"mine")
    (root / "other.jpg").write_bytes(b"mine")
    for key in ("../a.jpg", "./other.jpg", ""):
        await store().erase(ref(key))

    assert outside.exists()
    assert (root / "other.jpg").exists()
