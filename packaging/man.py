#!/usr/bin/env python3
"""Write manual pages for all commands from their click definitions.

python packaging/man.py FOLDER
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from imgtag import __version__
from imgtag.cli.main import cli

FILES = {
    "/etc/imgtag/imgtag.toml": "The configuration. `imgtag config example` prints an example.",
    "/etc/default/imgtag": "Environment of the systemd unit, without secrets.",
    "/var/lib/imgtag": "State of the sidecar when it runs as imgtag.service or as root.",
}
EXIT = {
    "0": "Done.",
    "1": "Something failed; stderr shows what.",
    "2": "The command line is invalid.",
    "78": "The configuration is invalid; stderr lists every finding.",
    "130": "Interrupted.",
}


def pages(
    command: click.Command, name: str = "imgtag", above: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Return the name and text of each page, for the command and its subcommands."""
    context = click.Context(command, above, name.rpartition(" ")[2], **command.context_settings)
    yield name.replace(" ", "-"), "\n".join(_page(command, name, context)) + "\n"
    for child, under in _children(command, context):
        yield from pages(under, f"{name} {child}", context)


def _page(command: click.Command, name: str, context: click.Context) -> Iterator[str]:
    title, date = name.replace(" ", "-"), time.strftime("%Y-%m-%d", time.gmtime(_epoch()))
    yield f'.TH "{title.upper()}" 1 "{date}" "imgtag {__version__}" "imgtag"'
    yield from (".SH NAME", rf"{title} \- {_text(_summary(command))}")
    yield from (".SH SYNOPSIS", rf"\fB{_text(name)}\fR {_text(' '.join(command.collect_usage_pieces(context)))}")
    yield from (".SH DESCRIPTION", *_paragraphs(command.help or ""))
    yield from _list("OPTIONS", dict(_options(command, context)))
    yield from _list("COMMANDS", {child: _summary(under) for child, under in _children(command, context)})
    if context.parent is None:
        yield from _list("FILES", FILES)
        yield from _list("EXIT STATUS", EXIT)
    yield from (".SH SEE ALSO", ", ".join(_related(command, title, context)))


def _epoch() -> int:
    return int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())


def _summary(command: click.Command) -> str:
    first = (command.help or "").strip().split("\n\n")[0]
    return " ".join(first.split()).split(". ")[0].rstrip(".")


def _paragraphs(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        # \b keeps click from wrapping a block with manual line breaks.
        yield from (".nf", _text(paragraph[1:].strip("\n")), ".fi") if paragraph[:1] == "\b" else (_text(paragraph),)


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and record[1]:
            yield record


def _list(heading: str, terms: dict[str, str]) -> Iterator[str]:
    if terms:
        yield f".SH {heading}"
    for term, text in terms.items():
        yield from (".TP", rf"\fB{_text(term)}\fR", _text(text))


def _children(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child and not child.hidden:
                yield name, child


def _related(command: click.Command, title: str, context: click.Context) -> Iterator[str]:
    above = title.rpartition("-")[0]
    names = [above, *(f"{title}-{child}" for child, _ in _children(command, context))]
    yield from (rf"\fB{_text(name)}\fR(1)" for name in names if name)


def _text(text: str) -> str:
    """Escape text for troff: no escapes, no requests, hyphens that users can copy."""
    lines = (" ".join(line.split()) for line in text.replace("\\", r"\e").replace("-", r"\-").splitlines())
    return "\n".join(rf"\&{line}" if line[:1] in (".", "'") else line for line in lines)


def main() -> None:
    """Write the pages into the folder named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(cli):
        (folder / f"{name}.1").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
