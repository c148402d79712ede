"""From the rules of the configuration to what the pipeline does with one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imgtag.config.configuration import Config
from imgtag.config.rules import Effective, Rules
from imgtag.config.schema import LabelRule as LabelRuleSettings
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.reconcile import Treatment
from imgtag.stages.annotate import Way
from imgtag.types.labels import identity
from imgtag.types.metadata import MetadataCodec
from imgtag.types.ref import ObjectRef
from imgtag.workers.generations import Model, Models
from imgtag.workers.pool import PictureLimits

_DECODED_SHARE = 4
"""A decoded picture may take a quarter of a worker's memory: conversion and resizing copy it."""


def label_policy(effective: Effective) -> LabelPolicy:
    """Which classes become labels."""
    labels = effective.labels
    return LabelPolicy(
        top_k=labels.top_k,
        threshold=labels.threshold,
        decimals=labels.decimals,
        rules=tuple(label_rule(rule) for rule in effective.label_rules),
        allow=tuple(map(identity, labels.allow)),
        deny=tuple(map(identity, labels.deny)),
    )


def label_rule(rule: LabelRuleSettings) -> LabelRule:
    """A rule as labels are made by it: names as identities."""
    said = rule.model_dump(exclude={"label", "category"})
    category = rule.category and identity(rule.category)
    return LabelRule(labels=tuple(map(identity, rule.label)), category=category, **said)


def metadata_codec(effective: Effective) -> MetadataCodec:
    """How entries are written and read."""
    labels = effective.labels
    key = labels.mark_key.get_secret_value().encode() if labels.mark_key else None
    return MetadataCodec(
        prefix=labels.prefix, decimals=labels.decimals, layout=labels.layout, keep=frozenset(labels.keep), key=key
    )


def picture_limits(config: Config, effective: Effective) -> PictureLimits:
    """What one picture may cost."""
    return PictureLimits(
        pixels=effective.limits.max_pixels,
        frames=config.pipeline.max_frames,
        memory=config.pipeline.worker_memory // _DECODED_SHARE,
        seconds=effective.limits.max_seconds,
    )


@dataclass
class Treatments:
    """The treatment of each object; made once for each rule and generation of models."""

    config: Config
    models: Models
    _made: dict[int | None, Treatment] = field(default_factory=dict, init=False)
    _by: Mapping[str, Model] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._rules = Rules(self.config)

    def __call__(self, ref: ObjectRef) -> Treatment | None:
        effective = self._rules.match(ref)
        if effective is None:
            return None
        if self._by is not self.models.all:
            self._by, self._made = self.models.all, {}
        if effective.rule not in self._made:
            self._made[effective.rule] = self._treatment(effective)
        return self._made[effective.rule]

    def _treatment(self, effective: Effective) -> Treatment:
        return Treatment(
            model=self._by[effective.model],
            shadow=self._by[effective.shadow] if effective.shadow else None,
            policy=label_policy(effective),
            way=Way(codec=metadata_codec(effective), strategy=effective.writeback.strategy),
            max_bytes=effective.limits.max_bytes,
            limits=picture_limits(self.config, effective),
            settle=effective.writeback.settle,
        )
