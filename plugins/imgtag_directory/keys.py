"""Which names below the root are objects.

A key is the path below the root, in UTF-8, with `/` between folders. Skipped, with everything in a folder of such a
name: hidden names (a leading dot: `.imgtag...`, `.~lock...`, `.DS_Store`, unfinished files of rsync and most tools),
unfinished downloads and backups by their ending, and the folders that file systems, NAS systems, archivers and photo
managers keep for themselves (thumbnails, snapshots, recycle bins).
"""

from __future__ import annotations

UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp", "~")
RESERVED = frozenset(
    {"lost+found", "@eaDir", "#recycle", "#snapshot", "@Recycle", "$RECYCLE.BIN", "System Volume Information"}
)


def is_key(key: str) -> bool:
    """Whether a key can be that of an object; never if it leads outside the root."""
    return is_utf8(key) and "\0" not in key and all(map(is_visible, key.split("/")))


def is_visible(name: str) -> bool:
    """Whether a file or folder of this name is considered."""
    return bool(name) and name[0] != "." and name not in RESERVED and not name.lower().endswith(UNFINISHED)


def is_utf8(name: str) -> bool:
    """Whether a name of the file system, as decoded by Python, is valid UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
