"""``imgtag policy``: the minimum permissions on the servers."""

from __future__ import annotations

import click

from imgtag.assembly import parts
from imgtag.cli.main import App, pass_app
from imgtag.errors import ConfigError, Unavailable


@click.command(name="policy")
@click.argument("names", metavar="[s3|nats|meilisearch]...", nargs=-1)
@pass_app
async def command(app: App, names: tuple[str, ...]) -> int:
    """Print the minimum permissions that this configuration needs, in each server's own form; by default for all.

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
                text = part.policy()
        except Unavailable:  # without the server, the policy is that of its most likely kind
            text = part.policy()
        if text is not None:
            click.echo(f"{kind} {name}:", err=True)  # which server it is for does not belong into a file of it
            click.echo(text)
        elif names:
            click.echo(f"{kind} {name} needs no permissions except for its files", err=True)
    return 0
