"""Ask before changing much."""

from __future__ import annotations

import sys

import click


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless ``yes``; without a terminal, refuse. Raises UsageError, Abort."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nothing was changed: there is no terminal to ask on, so pass --yes")
    click.confirm(question, abort=True, err=True)
