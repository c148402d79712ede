"""The table `[indexer.json-folder]`."""

from pathlib import Path

from pydantic import Field

from imgtag.plugin import Settings


class JsonFolderSettings(Settings):
    """Where the files are."""

    folder: Path | None = Field(default=None, description="The folder. Default: json-folder in the state directory.")
