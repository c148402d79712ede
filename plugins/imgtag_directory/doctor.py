"""What `imgtag doctor` says of the folder."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from imgtag.errors import BucketAbsent, ImgtagError
from imgtag.plugin.service import Check
from imgtag_directory.attributes import supported
from imgtag_directory.mounts import remote_kind
from imgtag_directory.watch import LIMITED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgtag_directory.root import Root
    from imgtag_directory.walk import Walk

SAMPLE = 10_000
"""Objects that are looked at: enough to meet what is wrong everywhere, and soon done."""
WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
FEW_WATCHES = 65_536
LOOK = "Look at it as the user that the sidecar runs as: is it mounted, and may it be read?"
MORE_WATCHES = "Set `fs.inotify.max_user_watches` higher (`sysctl`); one is needed for each folder."


def store_checks(root: Root, walk: Walk) -> list[Check]:
    """The root, what may be read there, and where labels will go. Blocking."""
    try:
        with root.open() as folder:
            writable = not os.fstatvfs(folder).f_flag & os.ST_RDONLY
        objects = sum(1 for _ in islice(walk.objects(), SAMPLE))
    except BucketAbsent as error:
        fresh = root.marker is None and root.identity() is not None
        return [_fresh(root) if fresh else Check(check="root", ok=False, message=error.message, hint=error.hint)]
    except ImgtagError as error:
        return [Check(check="root", ok=False, message=error.message, hint=error.hint or LOOK)]
    except OSError as error:
        return [Check(check="root", ok=False, message=f"{root.path}: {error.strerror}", hint=LOOK)]
    count = f"{objects} files" if objects < SAMPLE else f"{objects} files and more"
    return [
        Check(check="root", ok=True, message=f"{root.path} is there, with {count}"),
        *_marker(root),
        _labels(root, writable=writable),
        *_passed_over(walk),
    ]


def _fresh(root: Root) -> Check:
    message = f"{root.path} is there and empty; nothing counts as deleted until something is in it"
    return Check(check="root", ok=True, message=message)


def watch_checks(path: Path, polled: str | None) -> list[Check]:
    """How changes are heard of. Blocking."""
    if polled is not None:
        return [Check(check="watch", ok=polled != LIMITED, message=polled, hint=MORE_WATCHES * (polled == LIMITED))]
    kind = remote_kind(path)
    if kind is not None:
        return [Check(check="watch", ok=True, message=f"{path} is on {kind}, so it is polled")]
    try:
        watches = int(WATCHES.read_text())
    except (OSError, ValueError) as error:
        return [Check(check="watch", ok=False, message=f"inotify is not there: {error}", hint='Set `watch = "poll"`.')]
    few = watches < FEW_WATCHES
    message = f"inotify, for up to {watches} folders"
    return [Check(check="watch", ok=not few, message=message, hint=MORE_WATCHES * few)]


def _marker(root: Root) -> Iterator[Check]:
    if root.marker is None:
        yield Check(
            check="marker", ok=True, message="none is set; an empty folder is taken for one that is not mounted"
        )
    else:
        yield Check(check="marker", ok=True, message=f"{root.marker} is there")


def _labels(root: Root, *, writable: bool) -> Check:
    if not writable:
        hint = 'Mount it writable, or choose `strategy = "none"` under `[writeback]`.'
        return Check(check="attributes", ok=False, message=f"{root.path} is on a read-only file system", hint=hint)
    if supported(root.path):
        return Check(check="attributes", ok=True, message="labels go to extended attributes")
    return Check(check="attributes", ok=True, message="no extended attributes here: labels go to the state folder")


def _passed_over(walk: Walk) -> Iterator[Check]:
    if walk.unnamed:
        message = f"{len(walk.unnamed)} names are not UTF-8 and are passed over, such as {min(walk.unnamed)}"
        yield Check(check="names", ok=False, message=message, hint="Rename them, for instance with `convmv`.")
    if walk.denied:
        message = f"{len(walk.denied)} folders may not be read and are passed over, such as {min(walk.denied)}"
        yield Check(check="folders", ok=False, message=message, hint="Let the user that the sidecar runs as read them.")
