"""The table `[classifier.tflite]`."""

from __future__ import annotations

from pathlib import Path  # pydantic reads the annotations
from typing import Annotated

from pydantic import Field

from imgtag.plugin.spec import Settings

Positive = Annotated[float, Field(gt=0)]


class TFLiteSettings(Settings):
    """Which model classifies, and how pictures are given to it."""

    model: str = Field(
        default="bundled",
        min_length=1,
        description='The model that comes with the plugin ("bundled"), or the path of a .tflite file.',
    )
    labels: Path | None = Field(
        default=None,
        description="Text file with one class per line, in the model's order. Default: the one inside the model file.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Threads of one inference. There is a worker per core, so more than 1 rarely helps.",
    )
    crop: float = Field(
        default=0.875,
        gt=0,
        le=1,
        description="Share of a picture's shorter side that the model sees, from the middle.",
    )
    mean: float | tuple[float, float, float] | None = Field(
        default=None,
        description="Subtracted from each pixel (0 to 255), one number or three for R, G, B. "
        "Default: what the model file says, else 127.5. Models that take uint8 get the pixels as they are.",
    )
    std: Positive | tuple[Positive, Positive, Positive] | None = Field(
        default=None,
        description="Divides each pixel after `mean` was subtracted. Default: what the model file says, else 127.5.",
    )
