"""Bucket notifications over NATS."""

from imgtag.plugin import PluginSpec
from imgtag_nats.settings import NatsSettings

SPEC = PluginSpec(
    name="nats",
    kind="source",
    summary="Bucket notifications over NATS, durable with JetStream.",
    settings=NatsSettings,
    factory="imgtag_nats.source:make_source",
)
"""The table `[source.nats]`."""
