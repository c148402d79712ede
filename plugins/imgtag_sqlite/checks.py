"""What `imgtag doctor` looks at: the file, its health, and the free space beside it."""

from __future__ import annotations

import shutil
import sqlite3

from imgtag.plugin import Check
from imgtag_sqlite.database import Database
from imgtag_sqlite.errors import map_error, rebuild_hint

MIN_FREE = 100 * 2**20  # bytes on the disk of the index


def check_file(database: Database) -> Check:
    """Whether the index can be written."""
    database.write(lambda _: None)
    message = f"{database.path} is writable; SQLite {sqlite3.sqlite_version}"
    return Check(check="index", ok=True, message=message)


def check_health(database: Database) -> Check:
    """Whether the file is what SQLite wrote."""
    answer = database.read(_quick_check)
    if answer == "ok":
        return Check(check="index health", ok=True, message=f"{database.path} is healthy")
    message, hint = f"{database.path} is damaged: {answer}", rebuild_hint(database.path)
    return Check(check="index health", ok=False, message=message, hint=hint)


def check_space(database: Database) -> Check:
    """Whether there is room for more documents."""
    with map_error(database.path):
        free = shutil.disk_usage(database.path.parent).free
    hint = "" if free >= MIN_FREE else f"Free space on the disk of {database.path}."
    message = f"{free // 2**20} MB are free for {database.path}"
    return Check(check="index room", ok=free >= MIN_FREE, message=message, hint=hint)


def _quick_check(connection: sqlite3.Connection) -> str:
    connection.set_progress_handler(None, 0)  # reading a large index takes longer than a search may
    return str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
