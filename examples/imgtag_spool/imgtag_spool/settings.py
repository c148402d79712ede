"""The table `[source.spool]`."""

from pathlib import Path

from pydantic import Field

from imgtag.plugin import Settings


class SpoolSettings(Settings):
    """Where the files are."""

    folder: Path = Field(description="Another program moves one file NAME.json per notification of the store here.")
    every: float = Field(default=1.0, gt=0, description="Seconds between two looks.")
