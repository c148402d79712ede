"""What a write sets off in a bucket: lifecycle rules that count days from it, and replication.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLifecycleConfiguration.html
https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketReplication.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectState
from imgtag_s3 import xml
from imgtag_s3.buckets import Buckets

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The objects that a rule is for."""

    prefix: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    larger_than: int = -1
    smaller_than: int | None = None

    def matches(self, state: ObjectState) -> bool:
        """Whether the rule is for this object."""
        return (
            state.ref.key.startswith(self.prefix)
            and self.tags.items() <= state.tags.items()
            and state.size > self.larger_than
            and (self.smaller_than is None or state.size < self.smaller_than)
        )

    @classmethod
    def parse(cls, rule: xml.Element) -> Self:
        """From ``Filter``, or from the ``Prefix`` that older rules have in its place."""
        element = rule.find("Filter/And")
        if element is None:
            element = rule.find("Filter")
        if element is None:
            element = rule
        smaller = xml.text(element, "ObjectSizeLessThan")
        return cls(
            prefix=element.findtext("Prefix") or "",
            tags={tag.findtext("Key") or "": tag.findtext("Value") or "" for tag in element.findall("Tag")},
            larger_than=int(xml.text(element, "ObjectSizeGreaterThan") or -1),
            smaller_than=int(smaller) if smaller else None,
        )


@dataclass(frozen=True, kw_only=True)
class LifecycleRule:
    """A rule that does something some days after an object was last modified; ``name`` says what, for people."""

    name: str
    filter: Filter


@dataclass(frozen=True, kw_only=True)
class Replication:
    """A rule that sends new versions to another bucket."""

    target: str
    filter: Filter


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Those of a bucket that a write sets off; ``unknown`` names the settings that may not be read."""

    lifecycle: tuple[LifecycleRule, ...] = ()
    replication: tuple[Replication, ...] = ()
    unknown: frozenset[str] = frozenset()


class BucketRules:
    """Reads the rules of each bucket once."""

    def __init__(self, buckets: Buckets) -> None:
        self._buckets = buckets
        self._rules: dict[str, Rules] = {}

    async def read(self, bucket: str) -> Rules:
        """The rules of the bucket. Raises Unavailable, BucketAbsent."""
        if bucket not in self._rules:
            unknown: set[str] = set()

            async def parse(setting: str, action: str, parser: Callable[[xml.Element], tuple[T, ...]]) -> tuple[T, ...]:
                try:
                    root = await self._buckets.read_setting(bucket, setting, action)
                except WriteRefused:
                    unknown.add(setting)
                    return ()
                return () if root is None else parser(root)

            lifecycle = await parse("lifecycle", "s3:GetLifecycleConfiguration", parse_lifecycle)
            replication = await parse("replication", "s3:GetReplicationConfiguration", parse_replication)
            self._rules[bucket] = Rules(lifecycle=lifecycle, replication=replication, unknown=frozenset(unknown))
        return self._rules[bucket]


def parse_lifecycle(root: xml.Element) -> tuple[LifecycleRule, ...]:
    """The enabled rules that count days since the last change; those for a date or for old versions do not."""
    rules = []
    for number, rule in enumerate(root.findall("Rule"), 1):
        actions = []
        if days := xml.text(rule, "Expiration/Days"):
            actions.append(f"deletes after {days} days")
        actions += [
            f"moves to {xml.text(move, 'StorageClass')} after {days} days"
            for move in rule.findall("Transition")
            if (days := xml.text(move, "Days"))
        ]
        if actions and xml.text(rule, "Status") == "Enabled":
            name = f"{xml.text(rule, 'ID') or f'rule {number}'} ({', '.join(actions)})"
            rules.append(LifecycleRule(name=name, filter=Filter.parse(rule)))
    return tuple(rules)


def parse_replication(root: xml.Element) -> tuple[Replication, ...]:
    """The enabled rules."""
    return tuple(
        Replication(target=xml.text(rule, "Destination/Bucket"), filter=Filter.parse(rule))
        for rule in root.findall("Rule")
        if xml.text(rule, "Status") == "Enabled"
    )
