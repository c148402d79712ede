"""``imgtag policy``: the least that the servers must permit the sidecar."""

from __future__ import annotations

import anyio
import click

from imgtag.assembly import parts
from imgtag.cli.main import App, pass_app
from imgtag.config.configuration import Config
from imgtag.errors import ConfigError, Unavailable
from imgtag.plugin.service import Service


@click.command(name="policy")
@click.argument("names", metavar="[s3|nats|meilisearch]...", nargs=-1)
@pass_app
def command(app: App, names: tuple[str, ...]) -> int:
    """Print the least permissions that this configuration needs, each as its server reads it; by default for all.

    A server that answers is asked of which kind it is; none has to. `imgtag doctor` tells what is missing.
    """
    config = app.load()
    return anyio.run(_print, config, names)


async def _print(config: Config, names: tuple[str, ...]) -> int:
    """Policies on stdout; of which server each is, on stderr."""
    configured = {config.require(kind).name: (kind, make) for kind, make in parts(config).items()}
    unknown = [name for name in names if name not in configured]
    if unknown:
        hint = f"Configured are {', '.join(configured)}."
        raise ConfigError(f"{unknown[0]} is not configured, so it needs no permissions", hint=hint)
    for name in names or configured:
        kind, make = configured[name]
        text = await _policy(make())
        if text is not None:
            click.echo(f"{kind} {name}:", err=True)
            click.echo(text)
        elif names:
            click.echo(f"{kind} {name} needs none but those of its files", err=True)
    return 0


async def _policy(part: Service) -> str | None:
    """For the kind of server that answers; where none takes us yet, for the one that is most likely."""
    try:
        async with part:
            return part.policy()
    except Unavailable:
        return part.policy()
