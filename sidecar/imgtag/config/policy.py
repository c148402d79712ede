"""What the configuration says of one object: the first rule that matches it, over the general sections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from imgtag.config.configuration import Config
from imgtag.config.globs import compile_glob
from imgtag.config.label_rules import shipped_rules
from imgtag.config.schema import LabelRuleSettings, LabelSettings, LimitSettings, RuleSettings, WritebackSettings
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.plugin.spec import Settings
from imgtag.types.labels import identity
from imgtag.types.metadata import MetadataCodec
from imgtag.types.picture_limits import WORKER_OVERHEAD, PictureLimits
from imgtag.types.ref import ObjectRef

_Settings = TypeVar("_Settings", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class ObjectPolicy:
    """How one object is labelled, read and written on. Made once for each rule and used as it is."""

    labels: LabelPolicy
    codec: MetadataCodec
    """How entries are written on the object and read from it."""
    limits: PictureLimits
    max_bytes: int
    """The largest object that is read."""
    strategy: str = "auto"
    """How entries are written; ``none``: not at all."""
    settle: float = 0.0
    """Seconds to wait before the write, for clients that tag after they upload."""
    model: str = ""
    """Name of the model; empty for the default one."""
    shadow: str | None = None
    """Name of a second model, which only reports."""
    rule: int | None = None
    """Index among the rules; None without rules."""


class PolicyResolver:
    """Finds the policy of an object. ``general`` is what the general sections say without any rule."""

    def __init__(self, config: Config) -> None:
        limits = LimitSettings(**{name: getattr(config.pipeline, name) for name in LimitSettings.model_fields})
        self._config = config
        self.general = self._make(config.labels, config.writeback, limits)
        self._takes_everything = takes_everything(config)
        self._rules = [
            (
                rule,
                replace(
                    self._make(
                        _overlay(config.labels, rule.labels),
                        _overlay(config.writeback, rule.writeback),
                        _overlay(limits, rule.limits),
                    ),
                    model=rule.model or "",
                    shadow=rule.shadow,
                    rule=index,
                ),
            )
            for index, rule in enumerate(config.rules)
        ]

    def __call__(self, ref: ObjectRef) -> ObjectPolicy | None:
        """The policy of this object; None when it must not be touched."""
        if self._takes_everything:
            return self.general
        return next((policy for rule, policy in self._rules if admits(rule, ref)), None)

    def passed_over(self, ref: ObjectRef) -> Iterator[tuple[int, str | None]]:
        """The rules for the object's bucket that do not match it, by their index.

        Each comes with the glob of ``exclude`` that matches, or None where no glob of ``include`` does.
        """
        for index, (rule, _) in enumerate(self._rules):
            if rule.bucket == ref.bucket and not admits(rule, ref):
                yield index, next((glob for glob in rule.exclude if compile_glob(glob).fullmatch(ref.key)), None)

    def all(self) -> Iterator[ObjectPolicy]:
        """Every policy that an object can get."""
        yield from [self.general] if self._takes_everything else [policy for _, policy in self._rules]

    def _make(self, labels: LabelSettings, writeback: WritebackSettings, limits: LimitSettings) -> ObjectPolicy:
        pipeline = self._config.pipeline
        rules = (*self._config.label_rules, *(shipped_rules() if labels.defaults else ()))
        return ObjectPolicy(
            labels=LabelPolicy(
                top_k=labels.top_k,
                threshold=labels.threshold,
                decimals=labels.decimals,
                rules=tuple(map(_label_rule, rules)),
                allow=tuple(map(identity, labels.allow)),
                deny=tuple(map(identity, labels.deny)),
            ),
            codec=MetadataCodec(
                prefix=labels.prefix,
                decimals=labels.decimals,
                layout=labels.layout,
                keep=frozenset(labels.keep),
                keys=split_keys(labels.mark_key.get_secret_value()) if labels.mark_key else (),
            ),
            limits=PictureLimits(
                pixels=limits.max_pixels,
                frames=pipeline.max_frames,
                memory=pipeline.worker_memory - WORKER_OVERHEAD,
                seconds=limits.max_seconds,
            ),
            max_bytes=limits.max_bytes,
            strategy=writeback.strategy,
            settle=writeback.settle,
        )


def split_keys(text: str) -> tuple[bytes, ...]:
    """The mark keys of a setting or a file, one a line: the first signs, all verify."""
    return tuple(line.strip().encode() for line in text.splitlines() if line.strip())


def takes_everything(config: Config) -> bool:
    """Without rules a folder is labelled as a whole, and nothing of any other store is touched."""
    return not config.rules and config.store is not None and config.store.name == "directory"


def admits(rule: RuleSettings, ref: ObjectRef) -> bool:
    """Whether the rule matches the object."""
    return (
        ref.bucket == rule.bucket
        and any(compile_glob(glob).fullmatch(ref.key) for glob in rule.include)
        and not any(compile_glob(glob).fullmatch(ref.key) for glob in rule.exclude)
    )


def _label_rule(settings: LabelRuleSettings) -> LabelRule:
    """The rule with names as identities, as the label engine compares them."""
    fields = settings.model_dump(exclude={"label", "category"})
    category = settings.category and identity(settings.category)
    return LabelRule(labels=tuple(map(identity, settings.label)), category=category, **fields)


def _overlay(general: _Settings, part: Settings) -> _Settings:
    """The general settings, with those that a rule sets in their places."""
    return general.model_copy(update={name: getattr(part, name) for name in part.model_fields_set})
