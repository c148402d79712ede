"""Whose files are written: never with more rights than the owner of the folder has, and readable by nobody else."""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from imgtag.errors import ConfigError


def become_owner(folder: Path) -> None:
    """As root in a folder of somebody else: become that user, for good.

    Its owner could lead root to any file by a link, and could not use what root leaves there. Below a folder that only
    root may enter, as with systemd's ``DynamicUser``, root stays root, and no link may be there. Raises ConfigError.
    """
    if os.geteuid() != 0:
        return
    with suppress(FileNotFoundError, NotADirectoryError):  # then whatever creates it says what is wrong
        owner = folder.stat()
        if owner.st_uid == 0:
            return
        if not all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.resolve().parents):
            _require_no_links(folder)
            return
        try:
            entry = pwd.getpwuid(owner.st_uid)
        except KeyError:
            os.setgroups([owner.st_gid])
            os.setgid(owner.st_gid)
        else:
            os.initgroups(entry.pw_name, entry.pw_gid)
            os.setgid(entry.pw_gid)
        os.setuid(owner.st_uid)


def _require_no_links(folder: Path) -> None:
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink():
                hint = "imgtag creates no links: find out who did, and remove it."
                raise ConfigError(
                    f"{path} is a link, which root does not follow in a folder of another user", hint=hint
                )


def make_public_folder(folder: Path) -> None:
    """Create a folder that others may read, whatever the umask is; missing ones above it are private."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o755)


def is_readable_by_all(path: Path) -> bool:
    """Whether every user of the machine may read the file, as far as its own mode says."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def folder_fault(path: Path) -> str:
    """Why somebody else could replace what is at ``path``, by an absolute path; empty where nobody could.

    Each folder above must belong to root or to this user. One that others may write to, such as /tmp, must have the
    sticky bit: then only the owner of an entry may replace it.
    """
    for folder in path.resolve().parents:
        state = folder.stat()
        if state.st_uid not in {0, os.geteuid()}:
            return f"{folder} belongs to user {state.st_uid}, who is neither root nor the user that runs this"
        if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not state.st_mode & stat.S_ISVTX:
            return f"{folder} is writable by its group or by everybody; run: chmod go-w {folder}"
    return ""
