"""Every command with its options, from its click definition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc

import click
from forms import code, page, slug, table

from imgtag.cli.main import cli

_INTRO = """\
Results go to stdout, messages to stderr; with `--json`, each line of stdout is one JSON object. Exit codes: 0 done, 1
something failed, 2 usage, 78 configuration, 130 interrupted. Name an object as `BUCKET/KEY`, optionally with `s3://`
in front. Commands with large effects show what they will do and ask first. `--yes` skips the question; without a
terminal and without `--yes`, they refuse.

**Completion.** The Debian package installs it for bash, zsh and fish. With pip or pipx, add one line to the file that
your shell reads at its start: to `~/.bashrc` (bash 4.4 or newer)

```sh
eval "$(_IMGTAG_COMPLETE=bash_source imgtag)"
```

to `~/.zshrc`, after `compinit`,

```sh
eval "$(_IMGTAG_COMPLETE=zsh_source imgtag)"
```

and to `~/.config/fish/completions/imgtag.fish`

```sh
_IMGTAG_COMPLETE=fish_source imgtag | source
```

It completes commands, options, their fixed values, and names of files. Names of buckets, objects and models are not
completed, so it never asks a server."""


def commands() -> str:
    """Return the page."""
    return page("Commands", _INTRO, *(_described(path, command) for path, command in walk(cli, ("imgtag",))))


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield a command and all its subcommands."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, "list_commands returned it"
            if not child.hidden:
                yield from walk(child, (*path, name))


def _described(path: tuple[str, ...], command: click.Command) -> str:
    name, depth = " ".join(path), "##" if len(path) < 3 else "###"
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    parts = [f"{depth} `{name}` {{ #{slug(name)} }}", _help(command), f"    {usage}"]
    if rows := list(_options(command, context)):
        parts.append(table(["Option", "Meaning"], rows))
    return "\n\n".join(part.rstrip("\n") for part in parts)


def _help(command: click.Command) -> str:
    return re.sub(r"(?<![`\w])(--[a-z][a-z-]*)", r"`\1`", cleandoc(command.help or "").replace("``", "`"))


def _options(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            record = option.get_help_record(context)
            assert record is not None, "only hidden options have none"
            yield code(record[0]), record[1]
