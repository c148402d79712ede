"""The table `[source.poll]`."""

from __future__ import annotations

from pydantic import Field

from imgtag.plugin import Settings


class PollSettings(Settings):
    """What is listed, and how often."""

    every: float = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="Seconds between two listings of a part: a new object is noticed within that time, or when a "
        "longer listing reaches it.",
    )
    parts: tuple[str, ...] = Field(
        default=(),
        description="What is listed, as BUCKET or BUCKET/PREFIX. The parts take turns, spread over `every`. "
        "Default: the buckets that the rules name.",
        examples=[["photos/2026/", "wildlife"]],
    )
