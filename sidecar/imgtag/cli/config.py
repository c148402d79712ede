"""`imgtag config`: check, show, example."""

from __future__ import annotations

import click

from imgtag.cli.main import CONFIGURATION, DONE, App, pass_app


@click.group("config")
def command() -> None:
    """Check or show the configuration, or print an example."""


@command.command("check")
@pass_app
def check(app: App) -> int:
    """Print everything that is wrong, as `file: key: message`; connects to nothing."""
    from imgtag.config.check import check_run  # noqa: PLC0415  (`example` needs none of it)
    from imgtag.config.findings import InvalidConfig  # noqa: PLC0415

    try:
        config = app.load()
        findings = tuple(check_run(config)) if config.store else ()
    except InvalidConfig as error:
        findings = error.findings
    for finding in findings:
        click.echo(str(finding))
    if findings:
        return CONFIGURATION
    click.echo(f"{config.path or 'environment and defaults'}: ok")
    if config.store is None:
        click.echo("No store is configured, so `imgtag run` would have nothing to do.", err=True)
    return DONE


@command.command("show")
@pass_app
def show(app: App) -> None:
    """Print the configuration in force, with who set each value; secrets are masked."""
    from imgtag.config.render import show as render  # noqa: PLC0415

    click.echo(render(app.load()), nl=False)


@command.command("example")
@click.option("--small", is_flag=True, help="Only what is needed to begin.")
@pass_app
def example(app: App, *, small: bool) -> None:
    """Print a configuration with every setting, its default, and what it means."""
    from imgtag.config.load import plugins  # noqa: PLC0415
    from imgtag.config.render import example as render  # noqa: PLC0415

    click.echo(render(plugins(app.config_file), small=small), nl=False)
