"""The table `[classifier.colour-bar]`."""

from pydantic import Field

from imgtag.plugin import Settings


class ColourBarSettings(Settings):
    """How finely the classifier distinguishes colours."""

    bins: int = Field(default=6, ge=3, le=12, description="Number of colours, besides grey.")
    grey: float = Field(default=0.15, ge=0, le=1, description="Pixels with less saturation count as grey, from 0 to 1.")
