"""Answers of an S3 server -> the errors of the sidecar.

The codes are told in https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; MinIO's own begin with
`XMinio`.
"""

from __future__ import annotations

from imgtag.errors import BucketAbsent, Conflict, ImgtagError, Unavailable, Unreadable, WriteRefused
from imgtag.types.ref import ObjectRef

ABSENT = frozenset({"NoSuchKey", "NotFound", "NoSuchVersion", "MethodNotAllowed"})
"""A delete marker that is asked for by its id answers MethodNotAllowed."""

SHORTER = 416
"""Part or range of an object that was overwritten by a shorter one: MinIO looks at them before If-Match."""
PASSING = frozenset({408, 429, 499})
"""Too slow, too much, cut off on the way (MinIO: ClientDisconnected): nothing that is said of an object."""
PERMIT = "Give the user of the sidecar the policy that `imgtag policy` prints."

_CREDENTIALS = frozenset({
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidTokenId",
    "AuthorizationHeaderMalformed",
})  # fmt: skip
_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_CHANGED = ABSENT | {"PreconditionFailed", "ConditionalRequestConflict", "OperationAborted", "NoSuchUpload"}
_CUSTOMER_KEY = frozenset({"SSECustomerKeyRequired", "InvalidRequest", "BadRequest", "InvalidArgument"})
_NOT_WRITTEN = {
    "AccessDenied": "permission",
    "InvalidStorageClass": "storage_class",
    "MetadataTooLarge": "metadata_full",
    "InvalidTag": "tags",
    "BadRequest": "tags",
    "ObjectLocked": "retention",
    "XMinioAdminBucketQuotaExceeded": "quota",
    "QuotaExceeded": "quota",
    "InvalidEncryptionAlgorithmError": "encryption",
    "NotImplemented": "unsupported",
}


class Fault(Exception):
    """The server answered with a refusal. ``code`` is S3's; where a HEAD has none, it is made of the status."""

    def __init__(self, status: int, code: str, message: str = "", server: str = "") -> None:
        self.status = status
        self.code = code
        self.server = server
        super().__init__(f"{code} ({status}){': ' if message else ''}{message}")

    @property
    def absent(self) -> bool:
        """Whether it says that there is no such thing."""
        return self.status == 404 or self.code in ABSENT

    @property
    def denied(self) -> bool:
        """Whether it says that this must not be asked."""
        return self.status == 403

    @property
    def unsupported(self) -> bool:
        """Whether it says that the server has no such thing at all."""
        return self.status in {404, 405, 501} or self.code in {"NotImplemented", "MethodNotAllowed"}


class NoAnswer(Unavailable):
    """The request may have reached the server, or may not: there was no answer."""


def while_asking(fault: Fault) -> ImgtagError:
    """What is wrong where a bucket, or the server, was asked something."""
    hint = PERMIT if fault.code == "AccessDenied" else "Run `imgtag doctor`."
    return _common(fault) or Unavailable(f"the store refuses: {fault}", hint=hint)


def while_reading(fault: Fault, ref: ObjectRef) -> ImgtagError:
    """What is wrong with an object that was to be read and is there."""
    error = _common(fault)
    if error:
        return error
    if fault.code == "PreconditionFailed" or fault.status == SHORTER:
        return Conflict(f"{ref} is no longer what it was")
    return Unreadable(f"{ref} cannot be read: {fault}", code=unreadable_code(fault))


def while_writing(fault: Fault, ref: ObjectRef) -> ImgtagError:
    """What is wrong with a write that was refused: nothing was written."""
    error = _common(fault)
    if error:
        return error
    if fault.code in _CHANGED or fault.status in {404, 409, 412, SHORTER}:
        return Conflict(f"{ref} changed while it was being worked on ({fault.code})")
    code = "encryption" if "KMS" in fault.code.upper() else _NOT_WRITTEN.get(fault.code, "store_refused")
    hint = "Run `imgtag doctor`." if code == "permission" else ""
    return WriteRefused(f"the store refuses the write: {fault}", code=code, hint=hint)


def unreadable_code(fault: Fault) -> str:
    """Why an object's bytes cannot be had: ``archived``, ``permission``, ``customer_key`` or ``store_refused``."""
    if fault.code == "InvalidObjectState":
        return "archived"
    if fault.denied:
        return "permission"
    return "customer_key" if fault.status == 400 and fault.code in _CUSTOMER_KEY else "store_refused"


def _common(fault: Fault) -> ImgtagError | None:
    """What is wrong whatever was asked for: it is not about the object."""
    if fault.code == "NoSuchBucket":
        return BucketAbsent(f"there is no such bucket ({fault})")
    if fault.code in _CREDENTIALS:
        return Unavailable(f"the credentials are not taken: {fault}", hint="Check access_key, secret_key and region.")
    if fault.code in _CLOCK:
        return Unavailable(f"the clocks differ: {fault}", hint="Set the time of both machines by NTP.")
    if 300 <= fault.status < 400:
        return Unavailable(f"the store is elsewhere: {fault}", hint="Check endpoint, region and path_style.")
    if fault.status in PASSING or fault.code == "RequestTimeout" or (fault.status >= 500 and fault.status != 501):
        return Unavailable(f"the store is in trouble: {fault}")
    return None
