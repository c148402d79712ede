"""``imgtag config``: check, show, example."""

from __future__ import annotations

import click

from imgtag.cli.main import CONFIGURATION, DONE, App, pass_app
from imgtag.cli.terminal import escape


@click.group("config")
def command() -> None:
    """Check or show the configuration, or print an example."""


@command.command("check")
@pass_app
def check(app: App) -> int:
    """Print every problem as `file: key: message`; connects to nothing."""
    from imgtag.assembly import describe_workers  # noqa: PLC0415  (`example` needs none of these)
    from imgtag.config.check import check_run, largest_images, readable_secrets  # noqa: PLC0415
    from imgtag.config.findings import InvalidConfig  # noqa: PLC0415

    try:
        config = app.load()
        findings = tuple(check_run(config)) if config.store else ()
    except InvalidConfig as error:
        findings = error.findings
    for finding in findings:
        click.echo(escape(str(finding)))
    if findings:
        return CONFIGURATION
    click.echo(f"{config.path or 'environment and defaults'}: ok")
    for warning in readable_secrets(config):
        click.echo(escape(f"warning: {warning}"), err=True)
    click.echo(describe_workers(config), err=True)
    limit = config.pipeline.max_pixels
    lower = [
        f"{name} {_megapixels(pixels)}" for name, pixels in largest_images(config.pipeline).items() if pixels < limit
    ]
    because = f"; of {', '.join(lower)}, because of worker_memory" if lower else ""
    click.echo(f"images: up to {_megapixels(limit)} megapixels{because}", err=True)
    if config.store is None:
        click.echo("No store is configured, so `imgtag run` has nothing to do.", err=True)
    return DONE


@command.command("show", short_help="Print the effective configuration.")
@pass_app
def show(app: App) -> None:
    """Print the effective configuration, and where each value comes from; secrets are masked."""
    from imgtag.config.render import render_config  # noqa: PLC0415

    click.echo(render_config(app.load()), nl=False)


@command.command("example", short_help="Print a configuration with every setting.")
@click.option("--small", is_flag=True, help="Only what is needed to get started.")
@pass_app
def example(app: App, *, small: bool) -> None:
    """Print a configuration with every setting, its default and its meaning."""
    from imgtag.config.load import discover_plugins  # noqa: PLC0415
    from imgtag.config.render import render_example  # noqa: PLC0415

    click.echo(render_example(discover_plugins(app.config_file), small=small), nl=False)


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.1f}".removesuffix(".0")
