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
        description='The model that comes with the plugin ("bundled"), the name of one that `imgtag models` lists, or '
        "the path of a .tflite file or of its manifest. Default: what `imgtag models use` chose, else bundled.",
    )
    labels: Path | None = Field(
        default=None,
        description="Text file with one class per line, in the model's order. Default: what the manifest names, else "
        "the .txt beside the model, else the one inside the model file.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Threads of one inference. There is a worker per core, so more than 1 rarely helps.",
    )
    crop: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share of a picture's shorter side that the model sees, from the middle. Default: what the "
        "manifest says, else 0.875.",
        examples=[0.875],
    )
    mean: float | tuple[float, float, float] | None = Field(
        default=None,
        description="Subtracted from each pixel (0 to 255), one number or three for R, G, B. "
        "Default: what the manifest or the model file says, else 127.5. Models that take uint8 get them as they are.",
    )
    std: Positive | tuple[Positive, Positive, Positive] | None = Field(
        default=None,
        description="Divides each pixel after `mean` was subtracted. Default: what the model file says, else 127.5.",
    )
    temperature: float | None = Field(
        default=None,
        ge=0.05,
        le=20,
        description="Divides the model's logits: more than 1 makes it less sure of everything. `imgtag models "
        "calibrate` finds it on pictures of yours. Default: what the manifest says, else 1.",
        examples=[1.3],
    )
