"""Keeps one JSON file per image in a folder."""

from imgtag.plugin import PluginSpec
from imgtag_json_folder.settings import JsonFolderSettings

SPEC = PluginSpec(
    name="json-folder",
    kind="indexer",
    summary="Keeps one JSON file per image in a folder.",
    settings=JsonFolderSettings,
    factory="imgtag_json_folder.indexer:JsonFolderIndexer",
)
