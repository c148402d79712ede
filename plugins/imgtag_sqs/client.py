"""Requests to the queue service, through aiobotocore."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import cache, partial
from typing import Any

from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from botocore.session import Session

from imgtag.errors import Unavailable
from imgtag.plugin.aws import explain_credentials, open_client
from imgtag_sqs.errors import NoAnswer, map_refusal
from imgtag_sqs.settings import SqsSettings

READ_GRACE = 8.0
"""Seconds to wait for a response, beyond those that the service itself waits for messages."""
MAX_TRIES = 2
"""How often botocore sends a request that fails; the callers try again as well."""
MAX_CONNECTIONS = 16
SECTION = "source.sqs"
UNREADABLE = (ResponseParserError, LookupError, AttributeError, TypeError, ValueError)
"""What botocore's parsers raise for what is no answer of the service, such as the page of a proxy."""


class QueueService:
    """The service that the settings name."""

    def __init__(self, settings: SqsSettings) -> None:
        self._settings = settings
        self._client: Any = None

    @property
    def where(self) -> str:
        """The service, for people."""
        return self._settings.endpoint or f"SQS in {self._settings.region}"

    async def open(self, stack: AsyncExitStack) -> None:
        """Make a client, closed by the stack. Connects to nothing. Raises ConfigError, Unavailable."""
        settings = self._settings
        self._client = await open_client(
            stack,
            "sqs",
            settings,
            section=SECTION,
            where=self.where,
            load_models=partial(_load_models, settings.protocol),
            read_timeout=settings.wait + READ_GRACE,
            retries={"mode": "standard", "total_max_attempts": MAX_TRIES},
            max_pool_connections=MAX_CONNECTIONS,
        )

    async def call(self, action: str, *, needs: str = "", **parameters: Any) -> dict[str, Any]:
        """The response to an action, such as ``ReceiveMessage``; without the member ``needs`` it is none.

        Raises QueueError, Unavailable.
        """
        try:
            response: dict[str, Any] = await getattr(self._client, xform_name(action))(**parameters)
            # In JSON, botocore takes a page for an answer in which everything is left out.
            is_page = response["ResponseMetadata"]["HTTPHeaders"].get("content-type", "").startswith("text/html")
        except ClientError as error:
            raise map_refusal(action, error.response) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise Unavailable(f"no credentials for {self.where}: {error}", hint=explain_credentials(SECTION)) from error
        except (TimeoutError, BotoCoreError, OSError) as error:
            hint = "Check endpoint and region under [source.sqs], and that the service runs."
            raise Unavailable(f"{self.where} does not answer: {error or type(error).__name__}", hint=hint) from error
        except UNREADABLE as error:
            raise NoAnswer(action) from error
        if is_page or (needs and not response.get(needs)):
            raise NoAnswer(action)
        return response


@cache
def _load_models(protocol: str) -> Loader:
    """The files of botocore, kept in memory: reading them when a client is made would block the event loop. Blocks."""
    session = Session()
    loader: Loader = session.get_component("data_loader")
    if protocol == "query":
        _use_query_protocol(loader.load_service_model("sqs", "service-2", api_version=None))
    # A client of botocore itself reads the same files as one of aiobotocore.
    nobody = {"aws_access_key_id": "-", "aws_secret_access_key": "-"}  # otherwise it would look for credentials
    session.create_client("sqs", region_name="us-east-1", **nobody).close()
    return loader


def _use_query_protocol(model: dict[str, Any]) -> None:
    """Have botocore write requests in the older way, as forms, and read the XML that answers them.

    Its model of SQS lacks the names that lists, maps and results have there; they follow from those that it has:
    https://github.com/boto/botocore/pull/3515.
    """
    metadata, shapes = model["metadata"], model["shapes"]
    metadata |= {"protocol": "query", "protocols": ["query"]}
    metadata.pop("awsQueryCompatible", None)
    for name, shape in shapes.items():
        if shape["type"] == "list":
            shape["member"]["locationName"] = name.removesuffix("List")
        elif shape["type"] == "map":
            shape["key"]["locationName"], shape["value"]["locationName"] = "Name", "Value"
        for member in shape.get("members", {}).values():
            if shapes[member["shape"]]["type"] == "map":
                member["locationName"] = "Attribute"
    for name, operation in model["operations"].items():
        if "output" in operation:
            operation["output"]["resultWrapper"] = f"{name}Result"
