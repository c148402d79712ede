"""Search in an Elasticsearch or OpenSearch cluster."""

from imgtag.plugin.spec import PluginSpec
from imgtag_elasticsearch.settings import ElasticsearchSettings

SPEC = PluginSpec(
    name="elasticsearch",
    kind="indexer",
    summary="Search in an Elasticsearch 8 or 9 or an OpenSearch 2 or 3 cluster.",
    settings=ElasticsearchSettings,
    factory="imgtag_elasticsearch.indexer:ElasticsearchIndexer",
)
