"""Names the colour that most of a picture has."""

from imgtag.plugin.spec import PluginSpec
from imgtag_colour_bar.settings import ColourBarSettings

SPEC = PluginSpec(
    name="colour-bar",
    kind="classifier",
    summary="Names the colour that most of a picture has.",
    settings=ColourBarSettings,
    factory="imgtag_colour_bar.classifier:ColourBar",
    runs="worker",
)
