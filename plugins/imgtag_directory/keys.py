"""Which names below the root are objects.

A key is the path below the root, in UTF-8, with `/` between folders. Skipped, with everything in a folder of such a
name: hidden names (a leading dot: `.imgtag...`, `.~lock...`, `.DS_Store`, unfinished files of rsync and most tools),
unfinished downloads and backups by their ending, and the folders that file systems, NAS systems, archivers and photo
managers keep for themselves (thumbnails, snapshots, recycle bins).
"""

from __future__ import annotations

UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp", "~")
RESERVED = frozenset({
    "lost+found", "$recycle.bin", "system volume information",  # file systems
    "@eadir", "@tmp", "#recycle", "#snapshot", "#sharesnap",  # Synology
    "@recycle", "@recently-snapshot", "@__thumb", "@sharesnapshot",  # QNAP
    "~snapshot", "__macosx",  # NetApp, archives made on a Mac
})  # fmt: skip
"""Names in lower case: these systems, and the shares they offer, do not tell cases apart."""
PREVIEWS = ".lrdata"
"""Folders in which Lightroom keeps previews beside its catalogue."""


def is_key(key: str) -> bool:
    """Whether a key can be that of an object; never if it leads outside the root."""
    return is_utf8(key) and "\0" not in key and all(map(is_visible, key.split("/")))


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name is considered."""
    lower = name.lower()
    return bool(name) and name[0] != "." and lower not in RESERVED and not lower.endswith((*UNFINISHED, PREVIEWS))


def is_utf8(name: str) -> bool:
    """Whether a name of the file system, as decoded by Python, is valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
