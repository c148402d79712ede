"""``imgtag models use`` and ``remove``."""

from __future__ import annotations

import anyio
import click

from imgtag.cli.main import App, pass_app
from imgtag.cli.models.listing import loaded, uses
from imgtag.cli.prompts import confirm
from imgtag.errors import ConfigError, ModelError
from imgtag.models.resolver import ModelResolver


@click.command(name="use")
@click.argument("name", metavar="NAME")
@pass_app
def use(app: App, name: str) -> int:
    """Make a model the default one; a running sidecar takes it by itself. `bundled` is the one that comes along.

    What is labelled already keeps its labels.
    """
    config = app.load()
    orders = ModelResolver(config)
    about = orders.about
    if orders.configured:
        key = f"classifier.{config.need('classifier').name}.{about.name}"
        raise ConfigError(
            f"{config.origins.told(key)} sets {about.name} = {orders.default!r}, and the configuration goes before",
            hint=f"Write {name!r} there, or take the line out and run this again.",
        )
    if name not in about.builtin and orders.library.path(name) is None:
        orders.located(name)  # says what is there instead
        raise ModelError(f"{name} is not in {orders.library.folder}", hint=f"First `imgtag models add {name}`.")
    info = anyio.run(loaded, config, name)
    orders.library.choose(None if name in about.builtin else name)
    click.echo(f"{info.id} is the default from now on", err=True)
    return 0


@click.command(name="remove")
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def remove(app: App, name: str, *, yes: bool) -> int:
    """Remove a model from the folder of models; not one that is in use."""
    config = app.load()
    orders = ModelResolver(config)
    if name in orders.about.builtin:
        raise ModelError(
            f"{name} comes with the classifier and cannot be removed", hint="Use another one: `imgtag models use`."
        )
    if orders.library.path(name) is None:
        orders.located(name)
        raise ModelError(f"{name} is not in {orders.library.folder}", hint="Remove it by hand: it is yours.")
    used = uses(config, orders).get(name)
    if used:
        hint = "Take it out of the rules, or `imgtag models use` another one first."
        raise ModelError(f"{name} is in use: {', '.join(used)}", hint=hint)
    confirm(f"remove {name} from {orders.library.folder}?", yes=yes)
    for path in orders.library.remove(name):
        click.echo(f"removed {path}", err=True)
    return 0
