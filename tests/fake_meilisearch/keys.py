"""Keys: which actions on which indexes. crates/meilisearch-auth/src/lib.rs, meilisearch-types/src/keys.rs"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from hmac import digest
from typing import Any
from uuid import uuid4

from fake_meilisearch.errors import Refusal

GLOBAL = ("version", "keys.", "dumps.", "snapshots.", "metrics.", "experimental.", "network.", "webhooks.", "export")


@dataclass(frozen=True)
class Key:
    """What one key may do."""

    uid: str
    actions: Sequence[str]
    indexes: Sequence[str]

    def allows(self, action: str, index: str | None) -> bool:
        kind = action.partition(".")[0]
        acts = any(granted in {"*", action, f"{kind}.*"} for granted in self.actions)
        return acts and (index is None or self.sees(index))

    def sees(self, index: str) -> bool:
        return any(fnmatchcase(index, pattern) for pattern in self.indexes)


MASTER = Key("master", ["*"], ["*"])


class Keys:
    """Without a master key everything is open."""

    def __init__(self, master: str | None) -> None:
        self._master = master
        self._keys: dict[str, Key] = {}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """`POST /keys`. An index-scoped key may have no global action."""
        actions, indexes = body["actions"], body["indexes"]
        if "*" not in indexes and any(action.startswith(GLOBAL) for action in actions):
            raise Refusal("index_scoped_api_key_with_global_action", "the key is scoped to indexes")
        uid = body.get("uid") or str(uuid4())
        if uid in {key.uid for key in self._keys.values()}:
            raise Refusal("api_key_already_exists", f"`uid` field value `{uid}` is already an existing API key.")
        value = digest((self._master or "").encode(), uid.encode(), sha256).hex()
        self._keys[value] = Key(uid, actions, indexes)
        return {**body, "uid": uid, "key": value}

    def delete(self, uid: str) -> None:
        """`DELETE /keys/{uid}`."""
        self._keys = {value: key for value, key in self._keys.items() if uid not in {value, key.uid}}

    def check(self, header: str | None, action: str, index: str | None) -> Key:
        """The key of a request. Raises Refusal."""
        if self._master is None:
            return MASTER
        if not header:
            raise Refusal("missing_authorization_header", "The Authorization header is missing.")
        token = header.removeprefix("Bearer ")
        key = MASTER if token == self._master else self._keys.get(token)
        if key is None or not key.allows(action, index):
            raise Refusal("invalid_api_key", "The provided API key is invalid.")
        return key
