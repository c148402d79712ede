"""The shipped label rules, and names in label rules that the model does not have."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator
from functools import cache
from importlib.resources import files

from imgtag.config.configuration import Config
from imgtag.config.findings import Finding
from imgtag.config.schema import LabelRuleSettings
from imgtag.labels.rules import matches
from imgtag.registry import suggestion
from imgtag.types.labels import identity


@cache
def shipped_rules() -> tuple[LabelRuleSettings, ...]:
    """The rules of embarrassing.toml, which says why."""
    text = files("imgtag.config").joinpath("embarrassing.toml").read_text(encoding="utf-8")
    return tuple(LabelRuleSettings.model_validate(rule) for rule in tomllib.loads(text)["label_rules"])


def find_unknown_names(config: Config, known: Collection[str]) -> Iterator[Finding]:
    """Names and globs that match no label or ancestor of the model; another model may have them."""
    named = [(f"label_rules[{place}].label", rule.label) for place, rule in enumerate(config.label_rules)]
    sections = [
        ("labels", config.labels),
        *((f"rules[{n}].labels", rule.labels) for n, rule in enumerate(config.rules)),
    ]
    lists = [(f"{key}.{name}", getattr(part, name)) for key, part in sections for name in ("allow", "deny")]
    for key, patterns in [*named, *lists]:
        for pattern in patterns:
            if not any(matches(name, (identity(pattern),)) for name in known):
                message = f"no label or ancestor of the model matches {pattern!r}{suggestion(identity(pattern), known)}"
                yield config.origins.finding(key, message)
