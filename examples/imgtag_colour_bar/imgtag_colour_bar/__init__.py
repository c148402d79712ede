"""Names the dominant colour of an image."""

from imgtag.plugin import PluginSpec
from imgtag_colour_bar.settings import ColourBarSettings

SPEC = PluginSpec(
    name="colour-bar",
    kind="classifier",
    summary="Names the dominant colour of an image.",
    settings=ColourBarSettings,
    factory="imgtag_colour_bar.classifier:ColourBar",
    runs="worker",
)
