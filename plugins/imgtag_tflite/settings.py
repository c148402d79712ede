"""The table `[classifier.tflite]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from imgtag.plugin.spec import Settings

_MOVED = "moved to the model's manifest: set `{}` in the .toml beside the model file (docs/howto/upgrade.md)"


class TFLiteSettings(Settings):
    """Which model classifies. Its manifest says how pictures are passed to it, and what its classes are called."""

    removed: ClassVar[Mapping[str, str]] = {
        "labels": _MOVED.format("labels"),
        "mean": _MOVED.format("input.mean"),
        "std": _MOVED.format("input.std"),
        "crop": _MOVED.format("input.crop"),
        "temperature": _MOVED.format("temperature"),
    }

    model: str = Field(
        default="bundled",
        min_length=1,
        description='"bundled" for the included model, a name that `imgtag models list` shows, or the path of a '
        ".tflite file or of its manifest. If not set: the model that `imgtag models use` chose, else bundled.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Threads per inference. There is one worker per core, so more than 1 rarely helps.",
    )
