"""Warnings of a command that keeps no log, on stderr."""

from __future__ import annotations

import logging

from imgtag.cli.terminal import escape


class WarningFormatter(logging.Formatter):
    """The event, and why."""

    def format(self, record: logging.LogRecord) -> str:
        """A line, and the traceback where there is one."""
        reason = getattr(record, "reason", "")
        return super().format(record) + (f": {escape(str(reason))}" if reason else "")


def show_reasons() -> None:
    """Let warnings say why, as long as nobody sets up a log."""
    if logging.lastResort:
        logging.lastResort.setFormatter(WarningFormatter())
