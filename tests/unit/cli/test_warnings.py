"""Warnings of commands that keep no log."""

from __future__ import annotations

import logging

from imgtag.cli.warnings import WarningFormatter


def test_a_warning_says_why_in_one_line_that_no_name_can_break():
    """Without a reason it is the event alone."""
    lines = [
        WarningFormatter().format(logging.makeLogRecord({"msg": "index_outdated", **fields}))
        for fields in ({}, {"reason": "a\n\x1b[31mb"})
    ]

    assert "index_outdated" == lines[0]
    assert lines[1].startswith("index_outdated: a")
    assert lines[1].isprintable()
