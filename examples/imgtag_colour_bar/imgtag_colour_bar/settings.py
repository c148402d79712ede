"""The table `[classifier.colour-bar]`."""

from pydantic import Field

from imgtag.plugin.spec import Settings


class ColourBarSettings(Settings):
    """How finely colours are told apart."""

    bins: int = Field(default=6, ge=3, le=12, description="Colours of the bar, besides grey.")
    grey: float = Field(
        default=0.15, ge=0, le=1, description="Pixels whose saturation is less count as grey, from 0 to 1."
    )
