"""Keys and tenant tokens: which actions on which indexes, and with which filter.

crates/meilisearch-auth/src/lib.rs, meilisearch-types/src/keys.rs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from hashlib import sha256
from hmac import digest
from typing import Any
from uuid import uuid4

from fake_meilisearch.errors import Refusal
from fake_meilisearch.tenant import SearchRules, read_token

GLOBAL = ("version", "keys.", "dumps.", "snapshots.", "metrics.", "experimental.", "network.", "webhooks.", "export")


@dataclass(frozen=True)
class Key:
    """What one key may do, or a token that was signed with it."""

    uid: str
    actions: Sequence[str]
    indexes: Sequence[str]
    rules: SearchRules | None = None
    """Of the token."""

    def allows(self, action: str, index: str | None) -> bool:
        kind = action.partition(".")[0]
        acts = any(granted in {"*", action, f"{kind}.*"} for granted in self.actions)
        return acts and (index is None or self.sees(index))

    def sees(self, index: str) -> bool:
        seen = any(fnmatchcase(index, pattern) for pattern in self.indexes)
        return seen and (self.rules is None or self.rules.sees(index))

    def filter_of(self, index: str) -> Any:
        """What a search of the index must be limited by."""
        return self.rules.filter_of(index) if self.rules else None


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
        value = self._value_of(uid)
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
        if key is None and action == "search":
            key = self._read_tenant_token(token)
        if key is None or not key.allows(action, index):
            raise Refusal("invalid_api_key", "The provided API key is invalid.")
        return key

    def _read_tenant_token(self, token: str) -> Key | None:
        uid, rules = read_token(token, self._value_of)
        key = self._keys.get(self._value_of(uid))
        return key and replace(key, rules=rules)

    def _value_of(self, uid: str) -> str:
        return digest((self._master or "").encode(), uid.encode(), sha256).hex()
