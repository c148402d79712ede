"""Search without a server: one SQLite file."""

from imgtag.plugin.spec import PluginSpec
from imgtag_sqlite.settings import SqliteSettings

SPEC = PluginSpec(
    name="sqlite",
    kind="indexer",
    summary="Search in one SQLite file beside the sidecar; no server is needed.",
    settings=SqliteSettings,
    factory="imgtag_sqlite.indexer:SqliteIndexer",
)
