"""Asking before much is changed."""

from __future__ import annotations

import sys

import click


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless the answer was given; where nobody can be asked, refuse. Raises UsageError, Abort."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nothing was done: this needs --yes where there is nobody to ask")
    click.confirm(question, abort=True, err=True)
