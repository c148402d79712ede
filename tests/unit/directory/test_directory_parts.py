"""The parts that need no folder to be watched."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from imgtag.errors import BucketAbsent, Unavailable
from imgtag.types.ref import Listed, ObjectRef, Scope
from imgtag_directory import SOURCE, STORE
from imgtag_directory.checks import watch_checks
from imgtag_directory.media import media_type
from imgtag_directory.mounts import remote_kind
from imgtag_directory.polling import differing
from imgtag_directory.settings import DirectoryStoreSettings
from imgtag_directory.settling import Settling

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv/my\\040share rw,relatime - nfs4 server:/export rw
31 22 0:41 / /srv/fuse rw - fuse.sshfs host: rw
32 22 0:42 / /srv/ntfs rw - fuseblk /dev/sdb1 rw
33 22 0:43 / /srv/twice rw - ext4 /dev/sdc1 rw
34 33 0:44 / /srv/twice rw - cifs //host/share rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/my share/photos", "nfs4"),
        ("/srv/my share2", None),
        ("/srv/fuse", "fuse.sshfs"),
        ("/srv/ntfs/x", None),
        ("/srv/twice/x", "cifs"),
        ("/home", None),
    ],
)
def test_network_file_systems(tmp_path: Path, path: str, kind: str | None) -> None:
    """The mount that a path is on is found, also with blanks in its name, and the upper one of two."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    assert kind == remote_kind(Path(path), mounts)
    assert remote_kind(Path(path), tmp_path / "none") is None


def test_doctor_on_watching(tmp_path: Path) -> None:
    """How changes are heard of is told."""
    (check,) = watch_checks(tmp_path, None)

    assert "watch" == check.check
    assert check.ok or check.hint


@pytest.mark.parametrize(
    ("key", "kind"), [("a.JPG", "image/jpeg"), ("a.b/c.heic", "image/heic"), ("a.pdf", "application/pdf"), ("jpg", "")]
)
def test_media_types(key: str, kind: str) -> None:
    """The suffix decides."""
    assert kind == media_type(key)


def test_differing_listings() -> None:
    """New, changed and removed keys, and None for each that is the same."""
    before = [("a", "1"), ("b", "1"), ("c", "1")]
    now = [("b", "1"), ("c", "2"), ("d", "1")]

    assert ["a", None, "c", "d"] == list(differing(iter(before), iter(now)))


def test_importing_is_light() -> None:
    """The specs are there without watchdog, and name factories that are."""
    code = "import sys, imgtag_directory; sys.exit(any(name.startswith(('watchdog', 'anyio')) for name in sys.modules))"

    assert (
        0
        == subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False).returncode
    )
    assert "DirectoryStore" == STORE.load().__name__
    assert "DirectorySource" == SOURCE.load().__name__


@pytest.mark.parametrize("settings", [{"root": "/"}, {"root": "/a", "marker": "../b"}, {"root": "/a", "marker": ""}])
def test_settings_that_cannot_be(settings: dict[str, str]) -> None:
    """A root without a name and a marker outside the root are refused."""
    with pytest.raises(ValidationError):
        DirectoryStoreSettings(**settings)


def test_the_root_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Given relative to the working folder, it has that folder's name."""
    monkeypatch.chdir(tmp_path)

    assert tmp_path == DirectoryStoreSettings(root=Path()).root


def listed(key: str) -> Listed:
    return Listed(ref=ObjectRef("b", key), etag="1", size=1, modified=0)


def test_too_many_changes_become_a_resync() -> None:
    """Neither what arrives nor what waits grows without limit."""
    settling = Settling("b", 100, listed, limit=10)
    for number in range(50):
        settling.note(str(number))

    assert {Scope("b")} == set(settling.take())
    given = []
    for turn in range(3):
        for number in range(5):
            settling.note(f"{turn} {number}")
        given += settling.take()

    assert Scope("b") in given
    assert len(settling._waiting) <= 10


def test_an_absent_root_is_not_an_absent_file() -> None:
    """While the root cannot be looked at nothing is given out; a file that cannot be is given to whoever retries."""

    def absent(key: str) -> None:
        raise BucketAbsent

    def failing(key: str) -> None:
        raise Unavailable

    settling = Settling("b", 0, absent)
    settling.note("a")
    assert [] == settling.take()
    assert settling.root_absent
    settling = Settling("b", 0, failing)
    settling.note("a")
    (hint,) = settling.take()

    assert not hint.removed  # type: ignore[union-attr]


def test_settling_without_a_pause() -> None:
    """With nothing to wait for a file is given out at the second look."""
    settling = Settling("b", 0, listed)
    settling.note("a")
    given = []
    deadline = time.monotonic() + 5
    while not given and time.monotonic() < deadline:
        given = settling.take()

    assert ["a"] == [hint.ref.key for hint in given]  # type: ignore[union-attr]
