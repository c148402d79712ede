"""The listing of a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgtag.plugin.spec import PluginContext
from imgtag.types.ref import Scope
from imgtag_directory.settings import DirectoryStoreSettings
from imgtag_directory.store import DirectoryStore

Make = Callable[..., DirectoryStore]

names = st.text(st.sampled_from("aab01-.+ é\U0001f98a￿~"), min_size=1, max_size=3).filter(
    lambda name: name[0] != "." and name[-1] != "~"
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


def make(folder: Path, keys: set[str]) -> set[str]:
    """Those keys that can stand beside the ones before them."""
    made = set()
    for key in sorted(keys):
        try:
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            (folder / key).touch()
        except OSError:
            continue
        made.add(key)
    return made


async def listed(store: DirectoryStore, prefix: str, after: str) -> list[str]:
    return [item.ref.key async for item in store.list(Scope("photos", prefix), after=after)]


@given(keys=st.sets(paths, min_size=1, max_size=12), prefix=st.just("") | paths, after=st.just("") | paths)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_is_in_the_order_of_whole_keys(keys: set[str], prefix: str, after: str) -> None:
    """Whatever the names, the listing is the sorted UTF-8 keys with the prefix and behind `after`, each once."""
    folder = Path(mkdtemp()) / "photos"
    try:
        folder.mkdir()
        made = make(folder, keys)
        context = PluginContext(site="test", state_dir=folder.parent / "state")
        store = DirectoryStore(DirectoryStoreSettings(root=folder), context)
        expected = sorted(
            (key for key in made if key.startswith(prefix) and key.encode() > after.encode()), key=str.encode
        )

        assert expected == anyio.run(listed, store, prefix, after)
    finally:
        shutil.rmtree(folder.parent)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.anyio
async def test_pages(store: Make, root: Path) -> None:
    """Thousands of files are listed once each, and from where one stopped; an abandoned listing holds nothing open."""
    (root / "sub").mkdir()
    for number in range(2500):
        (root / "sub" / f"{number:04}.jpg").touch()
    made = store()
    open_before = descriptors()
    async for item in made.list(Scope("photos")):
        assert "sub/0000.jpg" == item.ref.key
        assert descriptors() <= open_before
        break

    assert [f"sub/{number:04}.jpg" for number in range(2500)] == await listed(made, "", "")
    assert ["sub/2499.jpg"] == await listed(made, "sub/2", "sub/2498.jpg")


@pytest.mark.anyio
async def test_etags_are_those_of_stat(store: Make, root: Path) -> None:
    """A listing and a look at the object tell the same."""
    (root / "a.jpg").write_bytes(b"1")
    made = store()
    (found,) = [item async for item in made.list(Scope("photos"))]
    state = await made.stat(found.ref)

    assert state is not None
    assert (state.etag, state.size, state.modified) == (found.etag, found.size, found.modified)


@pytest.mark.anyio
async def test_folders_of_other_programs_are_skipped(store: Make, root: Path) -> None:
    """What NAS systems, archivers and photo managers keep for themselves is not listed; similar names are."""
    reserved = ("@Recently-Snapshot", "@__thumb", "@tmp", "~snapshot", "__MACOSX", "Photos Previews.lrdata", "@EADIR")
    for folder in (*reserved, "tmp", "snapshot", "lrdata", "@home"):
        (root / folder / "deep").mkdir(parents=True)
        (root / folder / "deep" / "a.jpg").touch()

    keys = [f"{folder}/deep/a.jpg" for folder in ("@home", "lrdata", "snapshot", "tmp")]
    assert keys == await listed(store(), "", "")


@pytest.mark.anyio
async def test_passes_over_what_is_no_object(store: Make, root: Path) -> None:
    """Hidden and unfinished files, and folders of network storage boxes, are not listed."""
    for key in (".imgtag/a.jpg", ".~lock.a.jpg", "a.jpg.part", "b.TMP", "@eaDir/a.jpg", "x.jpg", "y/.z/a.jpg", "y/a~b"):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).touch()

    assert ["x.jpg", "y/a~b"] == await listed(store(), "", "")
