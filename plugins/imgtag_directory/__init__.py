"""A folder as a store, and as a source that watches it for changes."""

from imgtag.plugin import PluginSpec
from imgtag_directory.settings import DirectorySourceSettings, DirectoryStoreSettings

STORE = PluginSpec(
    name="directory",
    kind="store",
    summary="A folder: its files are the objects, labels go to extended attributes.",
    settings=DirectoryStoreSettings,
    factory="imgtag_directory.store:DirectoryStore",
)
"""The table `[store.directory]`."""

SOURCE = PluginSpec(
    name="directory",
    kind="source",
    summary="Watches a folder, by inotify or by polling.",
    settings=DirectorySourceSettings,
    factory="imgtag_directory.source:DirectorySource",
    needs_notifications=False,
)
"""The table `[source.directory]`."""
