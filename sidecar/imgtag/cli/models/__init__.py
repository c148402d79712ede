"""``imgtag models``: the models that there are, and what they would say."""

from __future__ import annotations

import click

from imgtag.cli.models.add import add
from imgtag.cli.models.calibrate import calibrate
from imgtag.cli.models.choice import remove, use
from imgtag.cli.models.compare import compare
from imgtag.cli.models.listing import list_models, show
from imgtag.cli.models.trial import try_models, verify


@click.group(name="models")
def command() -> None:
    """List, add, check, choose, try, calibrate and compare models."""


for subcommand in (list_models, show, add, verify, remove, use, try_models, calibrate, compare):
    command.add_command(subcommand)
