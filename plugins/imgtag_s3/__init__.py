"""An S3-compatible server as a store."""

from imgtag.plugin.spec import PluginSpec
from imgtag_s3.settings import S3StoreSettings

SPEC = PluginSpec(
    name="s3",
    kind="store",
    summary="An S3-compatible server: labels go to user metadata, written so that no upload is lost.",
    settings=S3StoreSettings,
    factory="imgtag_s3.store:S3Store",
)
"""The table `[store.s3]`."""
