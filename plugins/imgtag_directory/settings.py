"""The tables `[store.directory]` and `[source.directory]`."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from imgtag.plugin.spec import Settings


def _root(path: Path) -> Path:
    # Not resolved: the bucket is named as the folder was given, also where that is a link.
    absolute = Path(os.path.normpath(path if path.is_absolute() else Path.cwd() / path))
    if not absolute.name:
        raise ValueError("the file system's root has no name that a bucket could have: choose a folder below it")
    return absolute


def _marker(name: str) -> str:
    if not name or "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError("the marker is a file below the root, given relative to it")
    return name


Root = Annotated[Path, AfterValidator(_root)]
Marker = Annotated[str, AfterValidator(_marker)]


class DirectoryStoreSettings(Settings):
    """Which folder is the store."""

    root: Root = Field(
        description="The folder. It is the one bucket, named after its last path component.", examples=["/srv/pictures"]
    )
    marker: Marker | None = Field(
        default=None,
        description="A file in the folder that shows that it is mounted: without it nothing is believed to be deleted. "
        "Without this setting, a folder with nothing in it is taken for one that is not mounted.",
    )


class DirectorySourceSettings(Settings):
    """How changes of the folder are heard of."""

    root: Root | None = Field(default=None, description="The folder. Default: that of the store.")
    settle: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="Seconds that a file must stay as it is before it is looked at; a quarter once it was closed.",
    )
    watch: Literal["auto", "inotify", "poll"] = Field(
        default="auto",
        description="How: `auto` polls on network file systems and where inotify has reached its limit.",
    )
    poll: float = Field(default=30.0, gt=0, description="Seconds between two looks at the whole folder when polling.")
    recheck: float = Field(
        default=5.0,
        gt=0,
        description="Seconds between two looks whether the folder is still there and still the same.",
    )
