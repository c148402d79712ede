"""What `imgtag doctor` reports about the folder."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from imgtag.errors import BucketAbsent, ImgtagError
from imgtag.plugin import Check
from imgtag_directory.attributes import has_attributes
from imgtag_directory.mounts import remote_kind
from imgtag_directory.watch import LIMIT_REACHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgtag.plugin import Listed
    from imgtag_directory.root import Root
    from imgtag_directory.walk import Walk

MAX_SAMPLE = 10_000
"""Objects that are looked at: enough to find a problem that is everywhere, and done soon."""
WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
MIN_WATCHES = 65_536
ROOT_HINT = "Look at it as the user that the sidecar runs as: is it mounted, and is it readable?"
WATCHES_HINT = "Raise `fs.inotify.max_user_watches` (`sysctl`); every folder needs one."


def store_checks(root: Root, walk: Walk[Listed]) -> list[Check]:
    """The root, what is readable there, and where labels will go. Blocking."""
    try:
        with root.open() as folder:
            writable = not os.fstatvfs(folder).f_flag & os.ST_RDONLY
        objects = sum(1 for _ in islice(walk.objects(), MAX_SAMPLE))
    except BucketAbsent as error:
        if root.marker is not None or root.identity() is None:
            return [Check(check="root", ok=False, message=error.message, hint=error.hint)]
        message = f"{root.path} exists and is empty; nothing counts as deleted until something is in it"
        return [Check(check="root", ok=True, message=message)]
    except ImgtagError as error:
        return [Check(check="root", ok=False, message=error.message, hint=error.hint or ROOT_HINT)]
    except OSError as error:
        return [Check(check="root", ok=False, message=f"{root.path}: {error.strerror}", hint=ROOT_HINT)]
    count = f"{objects} files" if objects < MAX_SAMPLE else f"more than {objects} files"
    return [
        Check(check="root", ok=True, message=f"{root.path} exists, with {count}"),
        _marker_check(root),
        _labels_check(root, writable=writable),
        *_skipped_checks(walk),
    ]


def watch_checks(path: Path, polled: str | None) -> list[Check]:
    """How changes are noticed. Blocking."""
    if polled is not None:
        return [
            Check(
                check="watch", ok=polled != LIMIT_REACHED, message=polled, hint=WATCHES_HINT * (polled == LIMIT_REACHED)
            )
        ]
    kind = remote_kind(path)
    if kind is not None:
        return [Check(check="watch", ok=True, message=f"{path} is on {kind}, so it is polled")]
    try:
        watches = int(WATCHES.read_text())
    except (OSError, ValueError) as error:
        message = f"inotify is not available: {error}"
        return [Check(check="watch", ok=False, message=message, hint='Set `watch = "poll"`.')]
    enough = watches >= MIN_WATCHES
    message = f"inotify, for up to {watches} folders"
    return [Check(check="watch", ok=enough, message=message, hint="" if enough else WATCHES_HINT)]


def _marker_check(root: Root) -> Check:
    if root.marker is None:
        message = "none is set; an empty folder is assumed not to be mounted"
        return Check(check="marker", ok=True, message=message)
    return Check(check="marker", ok=True, message=f"{root.marker} exists")


def _labels_check(root: Root, *, writable: bool) -> Check:
    if not writable:
        hint = 'Mount it writable, or choose `strategy = "none"` under `[writeback]`.'
        return Check(check="attributes", ok=False, message=f"{root.path} is on a read-only file system", hint=hint)
    if has_attributes(root.path):
        return Check(check="attributes", ok=True, message="labels go to extended attributes")
    return Check(check="attributes", ok=True, message="no extended attributes here, so labels go to the state folder")


def _skipped_checks(walk: Walk[Listed]) -> Iterator[Check]:
    if walk.unnamed:
        message = f"{len(walk.unnamed)} names are not UTF-8 and are skipped, such as {min(walk.unnamed)}"
        yield Check(check="names", ok=False, message=message, hint="Rename them, for instance with `convmv`.")
    if walk.denied:
        message = f"{len(walk.denied)} folders are not readable and are skipped, such as {min(walk.denied)}"
        yield Check(check="folders", ok=False, message=message, hint="Allow the user of the sidecar to read them.")
