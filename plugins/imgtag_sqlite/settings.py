"""The table `[indexer.sqlite]`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from imgtag.plugin.spec import Settings


class SqliteSettings(Settings):
    """Where the index is."""

    path: Path | None = Field(
        default=None,
        description="The file of the index, on a local disk. Default: index.sqlite3 in the state folder.",
    )
