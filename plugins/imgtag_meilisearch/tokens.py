"""Tenant tokens: signed texts that let somebody search a part of an index, without a key of their own on the server.

https://www.meilisearch.com/docs/capabilities/security/advanced/tenant_token_payload
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from fnmatch import fnmatchcase
from hashlib import sha256
from hmac import digest
from typing import Any

from imgtag.errors import ConfigError
from imgtag.plugin import Condition
from imgtag_meilisearch.filters import expression

_ACTIONS = frozenset({"*", "search"})
"""A key signs tokens if it has one of these actions."""
_HINT = "Save the answer of the server to `POST /keys` in this file; docs/howto/meilisearch-search.md has the request."


def sign_token(key: str, index: str, condition: Condition, expires: int) -> str:
    """A token for searches that find only documents which meet the condition, in the indexes that the key names.

    ``key`` is the answer of the server to `POST /keys`, as JSON; ``expires`` counts seconds since 1970. Where the key
    has a pattern, the token is for ``index`` alone: others that the pattern covers may have nothing to do with images.
    Raises ConfigError for a text that is no key, or a key whose tokens the server would not accept.
    """
    try:
        answer = json.loads(key)
        uid, secret = str(answer["uid"]), str(answer["key"])
        actions, indexes = frozenset(answer["actions"]), tuple(answer["indexes"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError("this is not a key of Meilisearch with its uid, actions and indexes", hint=_HINT) from error
    if not actions & _ACTIONS:
        raise ConfigError("the key has no action search, so Meilisearch rejects its tokens", hint=_HINT)
    if not any(fnmatchcase(index, pattern) for pattern in indexes):
        raise ConfigError(f"the key is not for the index {index}", hint=f'Make one with "indexes": ["{index}"].')
    rule = {"filter": expression(condition)}
    rules = {name: rule for name in (index, *indexes) if "*" not in name}
    claims = {"apiKeyUid": uid, "searchRules": rules, "exp": expires}
    content = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
    return f"{content}.{_to_base64(digest(secret.encode(), content.encode(), sha256))}"


def _encode(part: Mapping[str, Any]) -> str:
    return _to_base64(json.dumps(part, separators=(",", ":")).encode())


def _to_base64(data: bytes) -> str:
    """Without padding, as JWT has it."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()
