"""``imgtag models use`` and ``remove``."""

from __future__ import annotations

import anyio
import click

from imgtag.cli.main import App, pass_app
from imgtag.cli.models.listing import find_uses, load_info
from imgtag.cli.prompts import confirm
from imgtag.errors import ConfigError, ModelError
from imgtag.models.resolver import ModelResolver


@click.command(name="use")
@click.argument("name", metavar="NAME")
@pass_app
def use(app: App, name: str) -> int:
    """Make a model the default. A running sidecar switches to it by itself. `bundled` is the included model.

    Pictures that are already labelled keep their labels.
    """
    config = app.load()
    resolver = ModelResolver(config)
    settings, repository = resolver.settings, resolver.repository
    if resolver.is_default_configured:
        key = f"classifier.{config.require('classifier').name}.{settings.name}"
        raise ConfigError(
            f"{config.origins.source_of(key)} sets {settings.name} = {resolver.default!r}, which takes precedence",
            hint=f"Set it to {name!r} there, or remove that line and run this again.",
        )
    if name not in settings.builtin and repository.find(name) is None:
        resolver.locate(name)  # raises UnknownModel with a suggestion, unless it is a path
        raise ModelError(f"{name} is not in {repository.folder}", hint=f"First run `imgtag models add {name}`.")
    info = anyio.run(load_info, config, name)
    repository.set_default(None if name in settings.builtin else name)
    click.echo(f"{info.id} is now the default model", err=True)
    return 0


@click.command(name="remove")
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_app
def remove(app: App, name: str, *, yes: bool) -> int:
    """Remove a model from the models folder, unless it is in use."""
    config = app.load()
    resolver = ModelResolver(config)
    repository = resolver.repository
    if name in resolver.settings.builtin:
        hint = "Use another model instead: `imgtag models use`."
        raise ModelError(f"{name} is part of the classifier and cannot be removed", hint=hint)
    if repository.find(name) is None:
        resolver.locate(name)  # raises UnknownModel with a suggestion, unless it is a path
        raise ModelError(f"{name} is not in {repository.folder}", hint="Delete the file yourself.")
    if used_by := find_uses(config, resolver).get(name):
        hint = "Remove it from the rules, or switch to another model with `imgtag models use` first."
        raise ModelError(f"{name} is in use: {', '.join(used_by)}", hint=hint)
    confirm(f"remove {name} from {repository.folder}?", yes=yes)
    for path in repository.remove(name):
        click.echo(f"removed {path}", err=True)
    return 0
