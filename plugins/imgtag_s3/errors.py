"""Error responses of an S3 server -> errors of the sidecar.

The codes are listed in https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; MinIO's own begin with
`XMinio`.
"""

from __future__ import annotations

from imgtag.errors import BucketAbsent, Conflict, ImgtagError, Unavailable, Unreadable, WriteRefused
from imgtag.types.ref import ObjectRef

PERMIT = "Give the sidecar's user the policy that `imgtag policy` prints."

_ABSENT = frozenset({"NoSuchKey", "NotFound", "NoSuchVersion", "MethodNotAllowed"})
"""A delete marker that is requested by its id answers MethodNotAllowed."""
_RANGE = 416
"""Part or range of an object that was overwritten by a shorter one: MinIO checks them before If-Match."""
_TRANSIENT = frozenset({408, 429, 499})
"""Too slow, too many, disconnected (MinIO: ClientDisconnected): says nothing about the object."""
_CREDENTIALS = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidTokenId",
    "AuthorizationHeaderMalformed",
})  # fmt: skip
_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_CHANGED = _ABSENT | {"PreconditionFailed", "ConditionalRequestConflict", "OperationAborted", "NoSuchUpload"}
_CUSTOMER_KEY = frozenset({"SSECustomerKeyRequired", "InvalidRequest", "BadRequest", "InvalidArgument"})
_REFUSAL_CODES = {
    "AccessDenied": "permission",
    "InvalidStorageClass": "storage_class",
    "MetadataTooLarge": "metadata_full",
    "BadDigest": "checksum",
    "XAmzContentSHA256Mismatch": "checksum",
    "InvalidTag": "tags",
    "BadRequest": "tags",
    "ObjectLocked": "retention",
    "XMinioAdminBucketQuotaExceeded": "quota",
    "QuotaExceeded": "quota",
    "InvalidEncryptionAlgorithmError": "encryption",
    "NotImplemented": "unsupported",
}


class S3Error(Exception):
    """The server refused a request. ``code`` is S3's; a HEAD has none, so there it follows from the status."""

    def __init__(self, status: int, code: str, message: str = "", server: str = "") -> None:
        self.status = status
        self.code = code
        self.server = server
        super().__init__(f"{code} ({status}){': ' if message else ''}{message}")

    @property
    def absent(self) -> bool:
        """Whether the thing does not exist."""
        return self.status == 404 or self.code in _ABSENT

    @property
    def denied(self) -> bool:
        """Whether the request is not permitted."""
        return self.status == 403

    @property
    def unsupported(self) -> bool:
        """Whether the server does not implement the request."""
        return self.status in {404, 405, 501} or self.code in {"NotImplemented", "MethodNotAllowed"}


class NoResponse(Unavailable):
    """No response came; the request may or may not have reached the server."""


def map_request_error(error: S3Error) -> ImgtagError:
    """The error of a request about a bucket or the server."""
    hint = PERMIT if error.code == "AccessDenied" else "Run `imgtag doctor`."
    return _map_common_error(error) or Unavailable(f"the store refuses the request: {error}", hint=hint)


def map_read_error(error: S3Error, ref: ObjectRef) -> ImgtagError:
    """The error of reading an object that exists."""
    common = _map_common_error(error)
    if common:
        return common
    if error.code == "PreconditionFailed" or error.status == _RANGE:
        return Conflict(f"{ref} has changed")
    return Unreadable(f"{ref} cannot be read: {error}", code=unreadable_code(error))


def map_write_error(error: S3Error, ref: ObjectRef) -> ImgtagError:
    """The error of a write that was refused: nothing was written."""
    common = _map_common_error(error)
    if common:
        return common
    if error.code in _CHANGED or error.status in {404, 409, 412, _RANGE}:
        return Conflict(f"{ref} changed while it was being processed ({error.code})")
    code = "encryption" if "KMS" in error.code.upper() else _REFUSAL_CODES.get(error.code, "store_refused")
    hint = "Run `imgtag doctor`." if code == "permission" else ""
    return WriteRefused(f"the store refuses the write: {error}", code=code, hint=hint)


def unreadable_code(error: S3Error) -> str:
    """Why an object's bytes are out of reach: ``archived``, ``permission``, ``customer_key`` or ``store_refused``."""
    if error.code == "InvalidObjectState":
        return "archived"
    if error.denied:
        return "permission"
    return "customer_key" if error.status == 400 and error.code in _CUSTOMER_KEY else "store_refused"


def _map_common_error(error: S3Error) -> ImgtagError | None:
    """The error where it is not about the object, whatever was requested."""
    if error.code == "NoSuchBucket":
        return BucketAbsent(f"no such bucket ({error})")
    if error.code in _CREDENTIALS:
        return Unavailable(f"the store rejects the credentials: {error}", hint="Check access_key, secret_key, region.")
    if error.code in _CLOCK:
        return Unavailable(f"the clocks differ: {error}", hint="Synchronise both machines by NTP.")
    if 300 <= error.status < 400:
        return Unavailable(
            f"the store redirects to another address: {error}", hint="Check endpoint, region and path_style."
        )
    if error.status in _TRANSIENT or error.code == "RequestTimeout" or (error.status >= 500 and error.status != 501):
        return Unavailable(f"the store cannot serve the request now: {error}")
    return None
