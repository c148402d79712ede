"""Finds changes by listing, for stores that send no notifications."""

from imgtag.plugin import PluginSpec
from imgtag_poll.settings import PollSettings

SPEC = PluginSpec(
    name="poll",
    kind="source",
    summary="Finds changes by listing the store, where it sends no notifications.",
    settings=PollSettings,
    factory="imgtag_poll.source:PollSource",
    needs_notifications=False,
)
"""The table `[source.poll]`."""
