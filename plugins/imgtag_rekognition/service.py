"""Calls to Rekognition, through aiobotocore, and what their errors mean."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import cache
from typing import Any

from botocore import xform_name
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.loaders import Loader, create_loader

from imgtag.errors import ImgtagError, Unavailable, Undecodable, Unreadable
from imgtag.plugin.aws import explain_credentials, open_client
from imgtag_rekognition.settings import RekognitionSettings

SECTION = "classifier.rekognition"
THROTTLED = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
UNREADABLE_OBJECT = "InvalidS3ObjectException"
"""Rekognition cannot read an object of S3: no permission, another region."""
_REFUSED: Mapping[str, type[ImgtagError]] = {
    "ImageTooLargeException": Unreadable,
    "InvalidImageFormatException": Undecodable,
    "InvalidParameterException": Undecodable,
    UNREADABLE_OBJECT: Unreadable,
}
"""What says that the image is at fault."""
_NOT_SENT = (ConnectTimeoutError, EndpointConnectionError)
REFUSED = "server_refuses"
"""The code of these."""
_HINTS = {
    "AccessDeniedException": "Give the sidecar's user the permissions that `imgtag policy rekognition` prints.",
    "ExpiredTokenException": "Renew the temporary credentials.",
    "InvalidSignatureException": "Check secret_key under [classifier.rekognition], and this machine's clock.",
    "UnrecognizedClientException": "Check access_key under [classifier.rekognition].",
}


class NotCharged(Unavailable):
    """AWS did no work for a call: it was not reached, or it refused."""


class Throttled(NotCharged):
    """AWS refuses a call because there were too many."""

    default_code = "throttled"
    default_hint = "Lower calls_per_second, or ask for a higher quota in Service Quotas. Images wait meanwhile."


class RekognitionService:
    """The service that the settings name."""

    def __init__(self, settings: RekognitionSettings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._client: Any = None

    @property
    def where(self) -> str:
        """The service, for people."""
        return self._settings.endpoint or f"Rekognition in {self._settings.region}"

    async def open(self) -> None:
        """Make a client. Connects to nothing. Raises ConfigError, Unavailable."""
        settings = self._settings
        self._client = await open_client(
            self._stack,
            "rekognition",
            settings,
            section=SECTION,
            where=self.where,
            load_models=_load_models,
            read_timeout=settings.timeout,
            retries={"total_max_attempts": 1},  # each attempt may be charged, so each is counted here
            max_pool_connections=settings.concurrency + 1,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._stack.aclose()

    async def call(self, action: str, **parameters: Any) -> dict[str, Any]:
        """The answer to an action, such as ``DetectLabels``.

        Raises NotCharged; Unavailable; Unreadable and Undecodable with the code `server_refuses`.
        """
        try:
            answer: dict[str, Any] = await getattr(self._client, xform_name(action))(**parameters)
        except ClientError as error:
            raise map_refusal(action, error.response) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise NotCharged(f"no credentials for {self.where}: {error}", hint=explain_credentials(SECTION)) from error
        except (BotoCoreError, OSError) as error:
            hint = (
                "Check region and endpoint under [classifier.rekognition], and the way to AWS. Images wait meanwhile."
            )
            kind = NotCharged if isinstance(error, _NOT_SENT) else Unavailable
            raise kind(f"{self.where} does not answer: {error or type(error).__name__}", hint=hint) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # botocore trusts what it reads
            raise invalid_answer(action) from error
        return answer


def invalid_answer(action: str) -> Unavailable:
    """The error of an answer that is not as the API reference says."""
    hint = "Images wait and are tried again. If that goes on, AWS may have changed its API: upgrade imgtag."
    return Unavailable(f"the answer to {action} is not understood", code="invalid_answer", hint=hint)


def map_refusal(action: str, response: Mapping[str, Any]) -> ImgtagError:
    """The error of a response."""
    error = response.get("Error", {})
    code, text = str(error.get("Code") or "unknown"), str(error.get("Message") or "").strip()
    message = f"{action} was refused: {code}{f': {text}' if text else ''}"
    if code in THROTTLED:
        return Throttled(message)
    if code in _REFUSED:
        return _REFUSED[code](message, code=REFUSED, hint="AWS itself refuses this image.")
    return NotCharged(message, hint=_HINTS.get(code, "Images wait and are tried again; nothing is lost."))


@cache
def _load_models() -> Loader:
    """The files of botocore, kept in memory. Blocks."""
    loader = create_loader()
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    for kind in ("endpoint-rule-set-1", "service-2"):
        loader.load_service_model("rekognition", kind, api_version=None)  # as botocore asks for it
    return loader
