"""A new index in the place of the one in use: filled beside it under an alias of its own, then the aliases change over.

https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-update-aliases
"""

from __future__ import annotations

from imgtag.errors import ConfigError, PluginError
from imgtag_elasticsearch.client import Client
from imgtag_elasticsearch.errors import IndexMissing
from imgtag_elasticsearch.settings import ElasticsearchSettings
from imgtag_elasticsearch.setup import Setup

SUFFIX = "-rebuild"
RIGHTS_HINT = (
    "`imgtag policy --with reindex elasticsearch` prints a role for it. Give its login to this command alone, in "
    "IMGTAG_INDEXER__ELASTICSEARCH__API_KEY."
)


class Rebuild:
    """The spare of one index, and the change of the two. Its methods block."""

    def __init__(self, client: Client, setup: Setup, settings: ElasticsearchSettings) -> None:
        self.spare_settings = settings.model_copy(update={"index": f"{settings.index}{SUFFIX}"})
        self._client = client
        self._setup = setup
        self._alias = settings.index
        self._spare = self.spare_settings.index

    def check(self) -> None:
        """Raise ConfigError where the login may not do it. To find out, what is so already is asked for."""
        index = self._client.index(self._alias)
        try:
            if index:
                self._setup.number(index)
                self._change([{"add": {"index": index.name, "alias": self._alias}}])
            self._delete(f"{self._setup.base}0")  # no index has the number 0
        except ConfigError as error:
            message = f"the login may not build another index and put it in the place of {self._alias}"
            raise ConfigError(f"{message}: {error.message}", hint=RIGHTS_HINT, code=error.code) from error

    def exists(self) -> bool:
        """Whether there is a spare."""
        return self._client.index(self._spare) is not None

    def create(self, spare: Setup, now: float) -> None:
        """Create the spare where it is missing, with what somebody set on the index in use."""
        index = self._setup.ensure(now)
        if not self.exists():
            spare.create(self._setup.number(index) + 1, like=index)

    def swap(self) -> None:
        """Exchange the aliases of the two. Raises Unavailable, PluginError.

        A write that found the older index behind the alias may still be on its way there. The block waits for those,
        and refuses what comes later, which is then written to the newer index.
        https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-indices-add-block
        """
        index, spare = self._client.index(self._alias), self._client.index(self._spare)
        if index is None or spare is None:
            missing = self._spare if index else self._alias
            raise PluginError(f"there is no index {missing}", hint="Run the command again, with --restart.")
        if spare.settings.get("blocks"):  # of an earlier swap, which is taken back
            self._client.ask("PUT", f"/{spare.name}/_settings", {"index.blocks.write": None})
        self._change(
            [
                {action: {"index": each.name, "alias": alias}}
                for action, each, alias in (
                    ("remove", index, self._alias),
                    ("remove", spare, self._spare),
                    ("add", spare, self._alias),
                    ("add", index, self._spare),
                )
            ]
        )
        self._client.ask("PUT", f"/{index.name}/_block/write")

    def drop(self) -> None:
        """Delete the spare, if there is one."""
        if index := self._client.index(self._spare):
            self._delete(index.name)

    def _change(self, actions: list[dict[str, dict[str, str]]]) -> None:
        # Not sent again where no answer comes: the aliases may have changed over already.
        self._client.ask("POST", "/_aliases", {"actions": actions}, retries=0)

    def _delete(self, name: str) -> None:
        try:
            self._client.ask("DELETE", f"/{name}")
        except IndexMissing:
            return
