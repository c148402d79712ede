"""Bucket notifications from Amazon SQS, and from queue services with its API."""

from imgtag.plugin import PluginSpec
from imgtag_sqs.settings import SqsSettings

SPEC = PluginSpec(
    name="sqs",
    kind="source",
    summary="Bucket notifications from Amazon SQS or a queue service with its API; needs the extra `aws`.",
    settings=SqsSettings,
    factory="imgtag_sqs.factory:make_source",
)
"""The table `[source.sqs]`."""
