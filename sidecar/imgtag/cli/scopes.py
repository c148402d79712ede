"""Parts of the store as they are named on a command line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from imgtag.cli.terminal import escape
from imgtag.config.configuration import Config
from imgtag.plugin.store import Store
from imgtag.types.ref import Scope


def parse_scopes(texts: Sequence[str]) -> list[Scope]:
    """What is named. Raises UsageError."""
    try:
        return [Scope.parse(text) for text in texts]
    except ValueError as error:
        raise click.UsageError(str(error)) from error


async def find_scopes(config: Config, store: Store, texts: Sequence[str]) -> list[Scope]:
    """The buckets and parts of them that are named, else all buckets of the rules. Raises UsageError."""
    named = parse_scopes(texts)
    # Without rules a folder is labelled as a whole.
    buckets = config.context().buckets or await store.buckets()
    scopes = named or [Scope(bucket) for bucket in buckets]
    for scope in scopes:
        if scope.bucket not in buckets:
            admitted = ", ".join(map(escape, buckets)) or "none"
            raise click.UsageError(
                f"no rule names the bucket {escape(scope.bucket)}; those that rules name: {admitted}"
            )
    return scopes
