"""What a queue service refuses, as errors of the sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgtag.errors import Unavailable

MISSING = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "KmsAccessDenied"})
UNKNOWN_ACTION = frozenset({"InvalidAction", "UnsupportedOperation", "NotImplemented", "UnknownOperationException"})
"""The service has no such action: https://uni.dtln.ru/help/1073 lists those of HyperStore, few of them batches."""
INVALID = frozenset(
    {"InvalidAttributeName", "InvalidAttributeValue", "InvalidParameterValue", "UnsupportedParameter"} | UNKNOWN_ACTION
)
_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_HINTS = {
    **dict.fromkeys(MISSING, "`imgtag setup` creates the queue."),
    **dict.fromkeys(DENIED, "Give the sidecar's user the permissions that `imgtag policy sqs` prints."),
    **dict.fromkeys(
        _CREDENTIALS, "Check access_key, secret_key and region under [source.sqs], and this machine's clock."
    ),
    **dict.fromkeys(
        UNKNOWN_ACTION, 'Some services know only the older way of writing requests: protocol = "query" in [source.sqs].'
    ),
    "OverLimit": "120,000 messages of the queue are in work or in back-off, which is the limit of SQS.",
}


class QueueError(Unavailable):
    """A queue service answered with an error; ``service_code`` is its name for it, without a prefix."""

    default_code = "sqs"

    def __init__(self, message: str, *, service_code: str) -> None:
        super().__init__(message, hint=_HINTS.get(service_code, ""))
        self.service_code = service_code

    @property
    def is_missing(self) -> bool:
        """Whether there is no such queue."""
        return self.service_code in MISSING

    @property
    def is_denied(self) -> bool:
        """Whether a permission is missing."""
        return self.service_code in DENIED


class NoAnswer(Unavailable):
    """What came back is not what a queue service answers, whatever its status says."""

    default_hint = (
        "Something else may answer there, such as a proxy: check endpoint and protocol under [source.sqs], and ask the "
        "endpoint with curl."
    )

    def __init__(self, action: str) -> None:
        super().__init__(f"{action} was answered with something that is no answer of SQS")


def map_refusal(action: str, response: Mapping[str, Any]) -> QueueError:
    """The error of a response. The two protocols name errors differently, and the older one adds a prefix."""
    error = response.get("Error", {})
    code = str(error.get("Code") or "unknown").rpartition(".")[2].rpartition("#")[2]
    text = str(error.get("Message") or "").strip()
    return QueueError(f"{action} was refused: {code}{f': {text}' if text else ''}", service_code=code)
