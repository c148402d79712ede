"""Reads notifications from files in a folder."""

from imgtag.plugin import PluginSpec
from imgtag_spool.settings import SpoolSettings

SPEC = PluginSpec(
    name="spool",
    kind="source",
    summary="Reads notifications from files in a folder.",
    settings=SpoolSettings,
    factory="imgtag_spool.source:SpoolSource",
    needs_notifications=False,
)
