"""Bucket notifications that a store pushes over HTTP."""

from imgtag.plugin import PluginSpec
from imgtag_webhook.settings import WebhookSettings

SPEC = PluginSpec(
    name="webhook",
    kind="source",
    summary="Bucket notifications that a store pushes over HTTP, kept in a local spool; needs no other server.",
    settings=WebhookSettings,
    factory="imgtag_webhook.source:WebhookSource",
)
"""The table `[source.webhook]`."""
