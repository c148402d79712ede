"""The tables `[store.directory]` and `[source.directory]`."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from imgtag.plugin import Settings


def _root(path: Path) -> Path:
    # Not resolved: the bucket has the name that was configured, even if that is a link.
    absolute = Path(os.path.normpath(path if path.is_absolute() else Path.cwd() / path))
    if not absolute.name:
        raise ValueError("the root of the file system has no name to give to the bucket: choose a folder below it")
    return absolute


def _marker(name: str) -> str:
    if not name or "\0" in name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError("the marker is a file below the root, given as a path relative to it")
    return name


Root = Annotated[Path, AfterValidator(_root)]
Marker = Annotated[str, AfterValidator(_marker)]


class DirectoryStoreSettings(Settings):
    """The folder that is the store."""

    root: Root = Field(
        description="The folder. It is the one bucket, named after its last path component.", examples=["/srv/pictures"]
    )
    marker: Marker | None = Field(
        default=None,
        description="A file in the folder that proves that it is mounted: without the file nothing counts as deleted. "
        "Without this setting, an empty folder is assumed not to be mounted.",
    )


class DirectorySourceSettings(Settings):
    """How changes in the folder are noticed."""

    root: Root | None = Field(default=None, description="The folder. Default: that of the store.")
    settle: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="Seconds that a file must stay unchanged before it is processed; a quarter once it is closed.",
    )
    watch: Literal["auto", "inotify", "poll"] = Field(
        default="auto",
        description="`auto` uses inotify, and polls on network file systems and when inotify has reached its limit.",
    )
    poll: float = Field(default=30.0, gt=0, description="Seconds between two listings of the folder when polling.")
    recheck: float = Field(
        default=5.0,
        gt=0,
        description="Seconds between two checks that the folder still exists and is still the same.",
    )
