"""Tenant tokens: what they say, and what they allow.

crates/meilisearch/src/extractors/authentication/mod.rs, crates/meilisearch-auth/src/lib.rs (`SearchRules`)
"""

from __future__ import annotations

import binascii
import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hmac import compare_digest, digest
from typing import Any

from fake_meilisearch.errors import Refusal

HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


@dataclass(frozen=True)
class SearchRules:
    """Patterns of indexes -> the rule of each: an object that may have a filter, or None."""

    rules: Mapping[str, Mapping[str, Any] | None]

    def sees(self, index: str) -> bool:
        """Whether the token may search an index."""
        return any(fnmatchcase(index, pattern) for pattern in self.rules)

    def filter_of(self, index: str) -> Any:
        """The filter of the rule that is nearest to the index: its own name, else the longest pattern."""
        patterns = [pattern for pattern in self.rules if fnmatchcase(index, pattern)]
        nearest = max(patterns, key=lambda pattern: ("*" not in pattern, len(pattern)))
        return (self.rules[nearest] or {}).get("filter")


def read_token(text: str, key_of: Callable[[str], str]) -> tuple[str, SearchRules]:
    """The uid of the key that a token was signed with, and its rules. Raises Refusal where it is not good any more.

    ``key_of`` gives the key of a uid, whether it is still there or not.
    """
    try:
        header, payload, signature = text.split(".")
        algorithm = HASHES[json.loads(_decode(header))["alg"]]
        claims = json.loads(_decode(payload))
        uid, rules, expiry = claims["apiKeyUid"], claims["searchRules"], claims.get("exp")
        proof = digest(key_of(uid).encode(), f"{header}.{payload}".encode(), algorithm)
        signed = compare_digest(proof, _decode(signature))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise Refusal("invalid_api_key", "The provided API key is invalid.") from error
    if not signed:
        raise Refusal("invalid_api_key", "Could not decode tenant token, InvalidSignature.")
    now = int(time.time())
    if expiry is not None and now > expiry:
        message = f"Tenant token expired. Was valid up to `{expiry}` and we're now `{now}`."
        raise Refusal("invalid_api_key", message)
    return uid, SearchRules(rules if isinstance(rules, Mapping) else dict.fromkeys(rules))


def joined(filter_: Any, rule: Any) -> Any:
    """`fuse_filters`: both must hold."""
    if filter_ is None or rule is None:
        return rule if filter_ is None else filter_
    return [*(filter_ if isinstance(filter_, list) else [filter_]), *(rule if isinstance(rule, list) else [rule])]


def _decode(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))
