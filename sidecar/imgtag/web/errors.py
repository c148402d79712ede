"""Errors as the API answers them: a fitting status, and what went wrong in a form that programs and people can use."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse, Response

from imgtag.errors import Conflict, ImgtagError, Incomparable, QueryError, Unavailable, Undecodable, Unreadable

RETRY_AFTER = 5
"""Seconds after which a client may ask again what was not available."""
_STATUS_BY_CODE = {"absent": 404, "customer_key": 403, "permission": 403, "too_large": 413}
_STATUS_BY_TYPE: Mapping[type[ImgtagError], int] = {
    QueryError: 400,
    Incomparable: 422,
    Conflict: 409,
    Unavailable: 503,
    Unreadable: 422,
    Undecodable: 422,
}


class HttpError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, message: str, hint: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_after = retry_after

    def response(self) -> Response:
        """The answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return error_response(self.status, self.code, self.message, self.hint, headers)


def respond_to(error: ImgtagError) -> Response:
    """The answer to an error of the sidecar."""
    status = _STATUS_BY_CODE.get(error.code) or next(
        (status for kind, status in _STATUS_BY_TYPE.items() if isinstance(error, kind)), 502
    )
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    position = {}
    if isinstance(error, QueryError):
        word = (error.query[error.position :].split() or [""])[0]
        position = {"position": {"from": error.position, "to": error.position + max(1, len(word))}}
    return error_response(status, error.code, error.message, error.hint, headers, **position)


def error_response(
    status: int, code: str, message: str, hint: str, headers: Mapping[str, str], **more: object
) -> Response:
    """An error as JSON; no cache may keep it."""
    content = {"error": {"code": code, "message": message, "hint": hint, **more}}
    return JSONResponse(content, status, {"Cache-Control": "no-store", **headers})
