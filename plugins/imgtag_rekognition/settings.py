"""The table `[classifier.rekognition]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from imgtag.plugin.aws import AwsSettings, check_endpoint

ENDPOINT_EXAMPLE = "https://vpce-0123.rekognition.eu-west-1.vpce.amazonaws.com"


class RekognitionSettings(AwsSettings):
    """Where to ask, what to ask for, and what it may cost."""

    region: str = Field(
        default="us-east-1",
        min_length=1,
        description="Region whose Rekognition is asked. The pictures go there.",
        examples=["eu-west-1"],
    )
    monthly_budget: float = Field(
        gt=0,
        description="US dollars that may be spent in a calendar month (UTC), by the counter in this state folder. Once "
        "they are spent, images wait for the next month.",
        examples=[20.0],
    )
    price: float = Field(
        default=1.0,
        gt=0,
        description="US dollars for 1,000 calls, as AWS charges for the first million of a month. An image takes one "
        "call, with `moderation` two.",
    )
    calls_per_second: float = Field(
        default=5.0,
        gt=0,
        le=1000,
        description="Maximum calls per second; fewer for a while after AWS refused some. Service Quotas shows what the "
        "account may do: 5 in most regions, 50 in a few.",
    )
    concurrency: int = Field(
        default=4, ge=1, le=64, description="Images that AWS is asked about at once; the others wait."
    )
    min_confidence: float = Field(
        default=0.5, ge=0, le=1, description="Labels below this confidence are not even kept as raw scores."
    )
    moderation: bool = Field(
        default=False,
        description="Also asks for moderation labels, such as `violence`. They have the ancestor `moderation`.",
    )
    moderation_min_confidence: float = Field(
        default=0.5, ge=0, le=1, description="The same as min_confidence, for moderation labels."
    )
    boxes: bool = Field(default=True, description="Whether the places of instances go into the document.")
    read_store: bool | None = Field(
        default=None,
        description="Whether Rekognition reads objects from S3 itself, which needs a bucket in the same region. "
        "Default: where the store is AWS in this region. Otherwise imgtag sends a reduced JPEG without metadata.",
    )
    max_side: int = Field(
        default=1600,
        ge=80,
        le=4096,
        description="Longest side of an image as it is sent, in pixels. Workers reduce larger ones.",
    )
    endpoint: Annotated[str, check_endpoint(ENDPOINT_EXAMPLE)] | None = Field(
        default=None, description="URL of an endpoint other than the public one of the region, such as one in a VPC."
    )
    timeout: float = Field(default=15, gt=0, le=300, description="Seconds that an answer may take.")

    @property
    def calls(self) -> int:
        """Calls for an image."""
        return 2 if self.moderation else 1

    @property
    def max_calls(self) -> int:
        """Calls that the budget of a month pays for."""
        return int(self.monthly_budget / self.price * 1000)
