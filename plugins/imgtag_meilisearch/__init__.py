"""Search in a Meilisearch server."""

from imgtag.plugin.spec import PluginSpec
from imgtag_meilisearch.settings import MeilisearchSettings

SPEC = PluginSpec(
    name="meilisearch",
    kind="indexer",
    summary="Search in a Meilisearch server, 1.43 or newer.",
    settings=MeilisearchSettings,
    factory="imgtag_meilisearch.indexer:MeilisearchIndexer",
)
