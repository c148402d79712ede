"""Where a picture of our own may be put: a key that nobody else has, and that the rules admit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from secrets import token_hex

from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ConfigError
from imgtag.types.ref import ObjectRef, Scope

_HEAD = re.compile(r"(?:[^*?]*/)?")
"""The folders of a glob that stand before its first wildcard."""
_SUFFIX = ".jpg"


def address(config: Config, to: str, buckets: tuple[str, ...]) -> ObjectRef:
    """A fresh key below ``to`` (BUCKET or BUCKET/FOLDER), else where the first rule admits one.

    ``buckets`` are those of the store, for rules that name none. Raises ConfigError where none is admitted.
    """
    rules = PolicyResolver(config)
    scopes = [_scope(to)] if to else list(_heads(config)) or [Scope(bucket) for bucket in buckets]
    name = f"imgtag-doctor-{token_hex(4)}"
    for scope in scopes:
        for suffix in _suffixes(config):
            ref = ObjectRef(scope.bucket, f"{scope.prefix}{name}{suffix}")
            if rules(ref):
                return ref
    raise ConfigError(
        f"no rule admits {name}{_SUFFIX} in {', '.join(map(str, scopes)) or 'any bucket'}",
        hint="Give a place that [[rules]] include and do not exclude: `imgtag doctor --send --to BUCKET/FOLDER`.",
    )


def _scope(to: str) -> Scope:
    bucket, _, folder = to.removeprefix("s3://").partition("/")
    return Scope(bucket, folder if not folder or folder.endswith("/") else f"{folder}/")


def _heads(config: Config) -> Iterator[Scope]:
    for rule in config.rules:
        for glob in rule.include:
            yield Scope(rule.bucket, _HEAD.match(glob)[0])  # type: ignore[index]  # it always matches


def _suffixes(config: Config) -> list[str]:
    """Ours, then those that the rules ask for: a picture is known by its first bytes, whatever its name."""
    asked = (PurePosixPath(glob).suffix for rule in config.rules for glob in rule.include)
    return list(dict.fromkeys([_SUFFIX, *(suffix for suffix in asked if not set(suffix) & set("*?"))]))
