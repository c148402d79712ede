"""What `imgtag doctor` reports about the folder."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from imgtag.errors import BucketAbsent, ImgtagError
from imgtag.plugin import Check
from imgtag.types.image_formats import is_image
from imgtag.types.image_names import is_called_image
from imgtag_directory.attributes import has_attributes
from imgtag_directory.media import media_type
from imgtag_directory.mounts import remote_kind
from imgtag_directory.walk import Skipped, Walk
from imgtag_directory.watch import LIMIT_REACHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgtag_directory.objects import Objects
    from imgtag_directory.root import Root

MAX_SAMPLE = 10_000
"""Files that are looked at: enough to find a problem that is everywhere."""
MAX_SECONDS = 10.0
MAX_HEADS = 200
"""Files whose first bytes are read, because neither name nor suffix tells what they are."""
HEAD = 4096
"""Bytes."""
WATCHES = Path("/proc/sys/fs/inotify/max_user_watches")
MIN_WATCHES = 65_536
ROOT_HINT = "Look at it as the user that the sidecar runs as: is it mounted, and is it readable?"
WATCHES_HINT = "Raise `fs.inotify.max_user_watches` (`sysctl`); every folder needs one."


def store_checks(root: Root, objects: Objects) -> list[Check]:
    """The root, what is readable and what is passed over there, and where labels will go. Blocking."""
    survey = _Survey(root, objects)
    try:
        with root.open() as folder:
            writable = not os.fstatvfs(folder).f_flag & os.ST_RDONLY
        survey.run()
    except BucketAbsent as error:
        if root.marker is not None or root.identity() is None:
            return [Check(check="root", ok=False, message=error.message, hint=error.hint)]
        message = f"{root.path} exists and is empty; nothing counts as deleted until something is in it"
        return [Check(check="root", ok=True, message=message)]
    except ImgtagError as error:
        return [Check(check="root", ok=False, message=error.message, hint=error.hint or ROOT_HINT)]
    except OSError as error:
        return [Check(check="root", ok=False, message=f"{root.path}: {error.strerror}", hint=ROOT_HINT)]
    count = f"more than {survey.files} files" if survey.is_cut else f"{survey.files} files"
    return [
        Check(check="root", ok=True, message=f"{root.path} exists, with {count}"),
        *_labelling_checks(root, writable=writable),
        *survey.skipped_checks(),
    ]


class _Survey:
    """What is below the root, and why some of it gets no document."""

    def __init__(self, root: Root, objects: Objects) -> None:
        self.files = 0
        self._objects = objects
        self._walk = Walk(root, self._look, seconds=MAX_SECONDS)
        self._heads = 0
        self._no_files, self._other_names, self._other_contents = Skipped(), Skipped(), Skipped()

    @property
    def is_cut(self) -> bool:
        """Whether it has not seen everything."""
        return self.files >= MAX_SAMPLE or self._walk.is_cut

    def run(self) -> None:
        """Walk. Raises BucketAbsent, Unavailable."""
        self.files = sum(1 for _ in islice(self._walk.objects(), MAX_SAMPLE))

    def _look(self, folder: int, key: str) -> bool | None:
        if self._objects.look(folder, key) is None:
            self._no_files.add(key)
            return None
        is_called = is_called_image(key, media_type(key))
        if is_called is False:
            self._other_names.add(key)
        elif is_called is None and self._heads < MAX_HEADS:
            self._heads += 1
            with suppress(OSError):
                if not is_image(self._objects.head(folder, key, HEAD)):
                    self._other_contents.add(key)
        return True

    def skipped_checks(self) -> Iterator[Check]:
        """What is passed over; it fails where somebody must have meant it otherwise."""
        skipped = {
            "with the suffix of another kind of file": self._other_names,
            "no image by its content": self._other_contents,
            "hidden, unfinished, or kept by another program": self._walk.invisible,
            "a link, or no file": self._no_files,
        }
        reasons = [f"{each.count} {reason} (such as {each.example})" for reason, each in skipped.items() if each.count]
        if reasons:
            yield Check(check="passed over", ok=True, message=", ".join(reasons))
        unnamed, denied = self._walk.unnamed, self._walk.denied
        if unnamed.count:
            message = f"{unnamed.count} names are not UTF-8 and are skipped, such as {unnamed.example}"
            yield Check(check="names", ok=False, message=message, hint="Rename them, for instance with `convmv`.")
        if denied:
            message = f"{len(denied)} folders are not readable and are skipped, such as {min(denied)}"
            yield Check(check="folders", ok=False, message=message, hint="Allow the user of the sidecar to read them.")


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


def _labelling_checks(root: Root, *, writable: bool) -> Iterator[Check]:
    """What shows that the folder is mounted, and where labels go."""
    marker = f"{root.marker} exists" if root.marker else "none is set; an empty folder is assumed not to be mounted"
    yield Check(check="marker", ok=True, message=marker)
    if not writable:
        hint = 'Mount it writable, or choose `strategy = "none"` under `[writeback]`.'
        yield Check(check="attributes", ok=False, message=f"{root.path} is on a read-only file system", hint=hint)
    elif has_attributes(root.path):
        yield Check(check="attributes", ok=True, message="labels go to extended attributes")
    else:
        message = "no extended attributes here, so labels go to the state folder"
        yield Check(check="attributes", ok=True, message=message)
