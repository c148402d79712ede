"""``imgtag policy``: the minimum permissions on the servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from imgtag.assembly import parts
from imgtag.cli.main import App, pass_app
from imgtag.errors import ConfigError, Unavailable
from imgtag.plugin.service import Service

DEMANDING = ("plan", "reindex", "setup")
"""Commands that need more permissions than a sidecar."""


@click.command(name="policy")
@click.argument("names", metavar="[s3|nats|sqs|meilisearch|elasticsearch]...", nargs=-1)
@click.option(
    "--with",
    "commands",
    metavar="COMMAND",
    type=click.Choice(DEMANDING),
    multiple=True,
    help=f"Also what a command needs that a sidecar does not: {', '.join(DEMANDING)}. Can be repeated.",
)
@pass_app
async def command(app: App, names: tuple[str, ...], commands: tuple[str, ...]) -> int:
    """Print the minimum permissions that this configuration needs, in each server's own form; by default for all.

    Some commands need more: --with adds that, for a user or a key of their own.

    Servers need not be running; the policy then fits the most likely kind. `imgtag doctor` names missing permissions.
    """
    config = app.load()
    configured = {config.require(kind).name: (kind, make) for kind, make in parts(config, read_only=True).items()}
    unknown = [name for name in names if name not in configured]
    if unknown:
        hint = f"Configured: {', '.join(configured)}."
        raise ConfigError(f"{unknown[0]} is not configured, so it needs no permissions", hint=hint)
    for name in names or configured:
        kind, make = configured[name]
        part = make()
        try:
            async with part:
                text = _read(part, commands)
        except Unavailable:  # without the server, the policy is that of its most likely kind
            text = _read(part, commands)
        if text is not None:
            click.echo(f"{kind} {name}:", err=True)  # which server it is for does not belong into a file of it
            click.echo(text)
        elif names:
            click.echo(f"{kind} {name} needs no permissions except for its files", err=True)
    return 0


def _read(part: Service, commands: Sequence[str]) -> str | None:
    """The policy; with what the commands need, where the plugin can tell (`imgtag.plugin.PolicyExtender`)."""
    extend: Callable[[Sequence[str]], str | None] | None = getattr(part, "policy_with", None)
    return extend(commands) if commands and extend else part.policy()
