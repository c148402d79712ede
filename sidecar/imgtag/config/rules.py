"""Which settings an object gets: the first rule that matches it, over the general sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from imgtag.config.configuration import Config
from imgtag.config.label_rules import shipped
from imgtag.config.schema import LabelRule, Labels, Limits, Rule, Writeback
from imgtag.plugin.spec import Settings
from imgtag.types.ref import ObjectRef

_TOKEN = re.compile(r"(?P<folders>(?:(?<=/)|\A)\*\*/)|(?P<all>\*\*+)|(?P<some>\*)|(?P<one>\?)|(?P<text>[^*?]+)")

_Settings = TypeVar("_Settings", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class Effective:
    """The settings of an object; ``rule`` is the place of the rule among the rules, None without rules.

    ``model`` is empty where it is the default one.
    """

    labels: Labels
    writeback: Writeback
    limits: Limits
    label_rules: tuple[LabelRule, ...] = ()
    rule: int | None = None
    model: str = ""
    shadow: str | None = None


class Rules:
    """The rules of a configuration, compiled."""

    def __init__(self, config: Config) -> None:
        limits = Limits(**{name: getattr(config.pipeline, name) for name in Limits.model_fields})
        self._label_rules = config.label_rules
        self._general = Effective(
            labels=config.labels,
            writeback=config.writeback,
            limits=limits,
            label_rules=self._label_rules_of(config.labels),
        )
        self._rules = [(rule, self._over(place, rule)) for place, rule in enumerate(config.rules)]
        self._everything = takes_everything(config)

    @property
    def general(self) -> Effective:
        """The general sections alone."""
        return self._general

    def match(self, ref: ObjectRef) -> Effective | None:
        """The settings of this object; None when it is not to be touched."""
        if self._everything:
            return self._general
        return next((effective for rule, effective in self._rules if admits(rule, ref)), None)

    def all(self) -> Iterator[Effective]:
        """Every combination of settings that an object can get."""
        yield from [self._general] if self._everything else [effective for _, effective in self._rules]

    def _over(self, place: int, rule: Rule) -> Effective:
        labels = _laid_over(self._general.labels, rule.labels)
        return Effective(
            labels=labels,
            writeback=_laid_over(self._general.writeback, rule.writeback),
            limits=_laid_over(self._general.limits, rule.limits),
            label_rules=self._label_rules_of(labels),
            rule=place,
            model=rule.model or "",
            shadow=rule.shadow,
        )

    def _label_rules_of(self, labels: Labels) -> tuple[LabelRule, ...]:
        return (*self._label_rules, *(shipped() if labels.defaults else ()))


def takes_everything(config: Config) -> bool:
    """Without rules a folder is labelled as a whole, and nothing of any other store is touched."""
    return not config.rules and config.store is not None and config.store.name == "directory"


def admits(rule: Rule, ref: ObjectRef) -> bool:
    """Whether the rule matches the object."""
    return (
        ref.bucket == rule.bucket
        and any(pattern(glob).fullmatch(ref.key) for glob in rule.include)
        and not any(pattern(glob).fullmatch(ref.key) for glob in rule.exclude)
    )


@lru_cache(maxsize=1024)
def pattern(glob: str) -> re.Pattern[str]:
    """The glob as a regular expression for whole keys.

    ``*`` and ``?`` stop at ``/``, ``**`` does not; ``**/`` at the beginning of a folder's name also
    matches no folder at all, so that ``**/*.jpg`` means every JPEG. No other character is special.
    """
    return re.compile("".join(map(_translated, _TOKEN.finditer(glob))), re.DOTALL)


def _translated(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "folders":
            return "(?:.*/)?"
        case "all":
            return ".*"
        case "some":
            return "[^/]*"
        case "one":
            return "[^/]"
    return re.escape(token[0])


def _laid_over(general: _Settings, part: Settings) -> _Settings:
    """The general settings, with those that a rule gives in their places."""
    return general.model_copy(update={name: getattr(part, name) for name in part.model_fields_set})
