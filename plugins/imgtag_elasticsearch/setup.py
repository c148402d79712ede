"""The index, its alias and the template: created before the first document, and removed by `imgtag setup --remove`.

Documents are in an index of their own with a number in its name; everybody calls it by an alias, so that `imgtag
reindex` can put another index in its place at one moment. The template is for indexes that are not created here: one
restored or copied under such a name has the right mapping from the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from imgtag.errors import ConfigError, PluginError
from imgtag.plugin import Change
from imgtag_elasticsearch.client import Client, Cluster, Index
from imgtag_elasticsearch.errors import IndexMissing, Refused
from imgtag_elasticsearch.fields import PROPERTIES, VECTOR_SETTINGS, VECTORS
from imgtag_elasticsearch.search import Searcher
from imgtag_elasticsearch.settings import ElasticsearchSettings

CHECK_PERIOD = 5.0
"""Seconds for which an index that was there counts as there: under load, batches follow each other faster."""
PRIORITY = 200
"""Of the template; those that come with the products have 100 or less."""

OURS = {"managed_by": "imgtag"}
"""What tells our template from another one of that name."""
INHERITED = (
    "number_of_shards",
    "number_of_replicas",
    "auto_expand_replicas",
    "refresh_interval",
    "codec",
    "max_result_window",
    "translog",
    "routing",
)
"""Settings of an index that the one which takes its place gets, too."""

Record = Mapping[str, Any]


def base_of(settings: ElasticsearchSettings) -> str:
    """What the names of the indexes behind an alias begin with."""
    return f"{settings.index}-imgtag-"


class Setup:
    """Creates what is missing under one alias, and undoes it, each change by its record.

    ``base`` is what the names of the indexes begin with, before their number. A spare is created by a rebuild alone.
    """

    def __init__(self, client: Client, settings: ElasticsearchSettings, site: str, base: str) -> None:
        self.alias = settings.index
        self.base = base
        self._client = client
        self._settings = settings
        self._site = site
        self._cluster: Cluster | None = None
        self._is_spare = base != base_of(settings)
        self._takes_vectors = True  # until it is refused
        self._ready: Index | None = None  # the one whose mapping is known to be right
        self._checked = -CHECK_PERIOD

    def cluster(self) -> Cluster:
        """Who answers; asked once."""
        if self._cluster is None:
            self._cluster = self._client.cluster()
        return self._cluster

    def ensure(self, now: float) -> Index:
        """Create index and alias where they are missing, unless this was looked at before; ``now`` is in seconds."""
        if self._ready is None or now >= self._checked + CHECK_PERIOD:
            index = self._client.index(self.alias)
            if index is None and self._is_spare:
                raise IndexMissing(f"there is no {self.alias}", hint="Run the command again, with --restart.")
            if index is None or self._ready is None or index.id != self._ready.id:
                self._apply_index(index, apply=True)
                index = self._client.index(self.alias)
            if index is None:
                raise IndexMissing
            self._ready, self._checked = index, now
        return self._ready

    def expire(self) -> None:
        """Have the next `ensure` ask the server: a write has failed."""
        self._checked = -CHECK_PERIOD

    def apply(self, *, apply: bool) -> list[Change]:
        """Create what is missing, or tell what would be created."""
        changes = self._apply_index(self._client.index(self.alias), apply=apply)
        template = self._template()
        if template is None or not covers(template.get("template", {}).get("mappings"), {"properties": PROPERTIES}):
            if apply:
                self._create_template()
            undo = None if template else {"cluster": self.cluster().id, "template": self.template}
            changes.insert(0, Change(what=f"index template {self.template}", done=apply, undo=undo))
        return changes

    @property
    def template(self) -> str:
        """Its name."""
        return f"imgtag-{self.alias}"

    def number(self, index: Index) -> int:
        """The number in the name of an index. Raises PluginError where it has none."""
        match = re.fullmatch(f"{re.escape(self.base)}([1-9][0-9]*)", index.name)
        if match is None:
            hint = f"Reindex it into {self.base}1 and move the alias, or name another index in [indexer.elasticsearch]."
            raise PluginError(f"{self.alias} is the alias of {index.name}, which is not an index of imgtag", hint=hint)
        return int(match[1])

    def undo(self, record: Record, *, apply: bool) -> Change | None:
        """Undo one change, or tell what would be undone. None where it is gone, or another one is in its place."""
        if record["cluster"] != self.cluster().id or record.get("alias", self.alias) != self.alias:
            message = f"{record.get('alias') or record['template']} was created on another cluster, or by another name"
            hint = (
                "Set url and index under [indexer.elasticsearch] as they were, and run `imgtag setup --remove` again."
            )
            raise ConfigError(message, hint=hint)
        if "template" in record:
            return self._remove_template(record["template"], apply=apply)
        index = self._client.index(self.alias)
        # Under a higher number it is what `imgtag reindex` put in the place of the one that setup created.
        if index is None or (record.get("id", index.id) != index.id and self.number(index) == 1):
            return None
        searcher = Searcher(self._client, self.alias)
        documents, others = searcher.total(), searcher.count_of_others(self._site)
        what = f"index {index.name}, with {documents:,} document{'' if documents == 1 else 's'}"
        if others:
            return Change(what=what, hint=f"{others:,} of them belong to other sites; delete it by hand")
        if apply:
            self._client.ask("DELETE", f"/{index.name}")
            self._ready = None
        return Change(what=what, done=apply)

    def _apply_index(self, index: Index | None, *, apply: bool) -> list[Change]:
        if index is None:
            if apply:
                self.create(1)
                index = self._client.index(self.alias)
            record = {"cluster": self.cluster().id, "alias": self.alias, **({"id": index.id} if index else {})}
            return [Change(what=f"index {self.base}1, with the alias {self.alias}", done=apply, undo=record)]
        missing = missing_fields(index)
        if not missing:
            return []
        if apply:
            self._add_fields(index, missing)
        # A field cannot be taken out of a mapping, so there is nothing to undo.
        return [Change(what=f"fields {', '.join(missing)} of index {index.name}", done=apply)]

    def _add_fields(self, index: Index, names: list[str]) -> None:
        try:
            self._client.ask(
                "PUT", f"/{index.name}/_mapping", {"properties": {name: PROPERTIES[name] for name in names}}
            )
        except Refused as error:
            message = f"the fields {', '.join(names)} of {index.name} cannot be changed: {error.message}"
            raise PluginError(message, hint="`imgtag reindex` builds a new index beside it.") from error

    def create(self, number: int, like: Index | None = None) -> None:
        """Create the index of this number with the alias; another process may have been first.

        ``like``: with what somebody set on that index, and added to its mapping.
        """
        name = f"{self.base}{number}"
        try:
            self._put(f"/{name}", lambda body: {**body, "aliases": {self.alias: {}}}, like)
        except Refused as error:
            if error.kind != "resource_already_exists_exception":
                raise
            if self._client.index(self.alias) is None:
                message = f"there is an index {name}, which is not called {self.alias}"
                hint = f"Delete it, or give it that alias: POST /_aliases, add {self.alias}."
                raise PluginError(message, hint=hint) from error

    def _create_template(self) -> None:
        template = {"index_patterns": [f"{self.base}*"], "priority": PRIORITY, "_meta": OURS}
        self._put(f"/_index_template/{self.template}", lambda body: {**template, "template": body})

    def _put(self, path: str, wrap: Callable[[dict[str, Any]], dict[str, Any]], like: Index | None = None) -> None:
        """Create something with our mapping: without vectors where the cluster has no k-NN plugin for them."""
        if self._takes_vectors:
            try:
                self._client.ask("PUT", path, wrap(self._body(like, with_vectors=True)))
            except Refused as error:
                if "knn" not in error.message:
                    raise
                self._takes_vectors = False
            else:
                return
        self._client.ask("PUT", path, wrap(self._body(like, with_vectors=False)))

    def _body(self, like: Index | None = None, *, with_vectors: bool) -> dict[str, Any]:
        theirs = {name: value for name, value in like.settings.items() if name in INHERITED} if like else {}
        ours = {"number_of_shards": self._settings.shards, "number_of_replicas": self._settings.replicas}
        settings: dict[str, Any] = {**theirs, **{name: value for name, value in ours.items() if value is not None}}
        properties = {**(like.mapping.get("properties", {}) if like else {}), **PROPERTIES}
        properties.pop("vector", None)
        if with_vectors:
            settings |= VECTOR_SETTINGS[self.cluster().product]
            properties["vector"] = VECTORS[self.cluster().product]
        return {"settings": settings, "mappings": {"dynamic": False, "properties": properties}}

    def _template(self) -> Mapping[str, Any] | None:
        try:
            (found,) = self._client.ask("GET", f"/_index_template/{self.template}")["index_templates"]
        except Refused as error:
            if error.kind != "resource_not_found_exception":
                raise
            return None
        template: Mapping[str, Any] = found["index_template"]
        return template

    def _remove_template(self, name: str, *, apply: bool) -> Change | None:
        template = self._template()
        if template is None:
            return None
        what = f"index template {name}"
        if template.get("_meta") != OURS:
            return Change(what=what, hint="somebody has changed that since")
        if apply:
            self._client.ask("DELETE", f"/_index_template/{name}")
        return Change(what=what, done=apply)


def missing_fields(index: Index) -> list[str]:
    """Our fields that the mapping of an index lacks, or has otherwise."""
    there = index.mapping.get("properties", {})
    return [name for name, field in PROPERTIES.items() if not covers(there.get(name), field)]


def covers(there: Any, ours: Any) -> bool:
    """Whether our mapping is in force. The server may add options; and leaves out that an object is one."""
    if isinstance(ours, Mapping):
        return isinstance(there, Mapping) and all(
            covers(there.get(name), value) for name, value in ours.items() if (name, value) != ("type", "object")
        )
    return bool(there == ours)
