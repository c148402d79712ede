"""Errors as the server answers them. https://www.meilisearch.com/docs/reference/errors/error_codes"""

from __future__ import annotations

from typing import Any

TYPES = {
    "auth": {"missing_authorization_header", "invalid_api_key"},
    "system": {"no_space_left_on_device", "too_many_search_requests", "io_error"},
    "internal": {"internal"},
}
STATUSES = {
    "missing_authorization_header": 401,
    "invalid_api_key": 403,
    "index_not_found": 404,
    "task_not_found": 404,
    "not_found": 404,
    "api_key_already_exists": 409,
    "payload_too_large": 413,
    "invalid_content_type": 415,
    "no_space_left_on_device": 422,
    "internal": 500,
    "too_many_search_requests": 503,
}


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUSES.get(code, 400)

    def body(self) -> dict[str, Any]:
        """The JSON of it."""
        kind = next((kind for kind, codes in TYPES.items() if self.code in codes), "invalid_request")
        link = f"https://docs.meilisearch.com/errors#{self.code}"
        return {"message": str(self), "code": self.code, "type": kind, "link": link}
