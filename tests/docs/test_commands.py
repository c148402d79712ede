"""Every command and option in the docs exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import click
import pytest

from docs.pages import ROOT, blocks, inline, pages, read
from imgtag.cli.main import cli
from imgtag.config.environment import CONFIG, variables
from imgtag.config.load import discover_plugins
from imgtag.config.shape import shape

_SHELLS = {"", "sh", "bash", "shell", "console"}
_VARIABLE = re.compile(r"\bIMGTAG_[A-Z0-9_]*[A-Z0-9]\b")
_ASSIGNED = re.compile(r"[A-Z_][A-Z0-9_]*=")
_EXAMPLES = {"IMGTAG_CLASSIFIER__COLOUR_BAR__BINS", "IMGTAG_INDEXER__JSON_FOLDER__FOLDER"}
"""Of the example plugins, which are not installed here."""
_OF_TESTS = {
    "IMGTAG_BACKFILL", "IMGTAG_DAMAGED_PICTURES", "IMGTAG_ENDURANCE", "IMGTAG_KILLS", "IMGTAG_RACES", "IMGTAG_WALKS",
    "IMGTAG_WALK_STEPS",
}  # fmt: skip


def lines(page) -> Iterator[str]:
    """Yield shell lines and inline code that may contain the command."""
    for block in blocks(page):
        if block.kind in _SHELLS:
            shell = block.text.replace("\\\n", " ").splitlines()
            if block.kind == "console":
                shell = [line for line in shell if line.startswith("$ ")]
            yield from (line.strip().removeprefix("$ ") for line in shell)
    yield from (token.content for token in inline(page, "code_inline"))


def words(line: str) -> Sequence[str]:
    """Return the words after `imgtag`; none for another command. Brackets mark optional words."""
    if not re.match(r"([A-Z_]+=\S+ )*(\S*/)?imgtag( |$)", line) or re.match(r"imgtag (\(|=)", line):
        return ()
    parts = shlex.split(re.sub(r"[\[\]]|\.\.\.|…", " ", line), comments=True)
    while _ASSIGNED.match(parts[0]):
        parts = parts[1:]
    return parts[1:]


def check(line: str) -> str:
    """Return what is wrong with a line; empty if nothing is."""
    command: click.Command = cli
    rest = list(words(line))
    while rest:
        word = rest.pop(0)
        if word in {"&", "|", ">", "2>", ";", "&&"}:
            return ""
        if word.startswith("-") and word != "-":
            option = _option(command, word.partition("=")[0])
            if option is None and not _takes_all(command, word):
                return f"{command.name} has no option {word}"
            if option is not None and not (option.is_flag or option.count or "=" in word):
                rest = rest[1:]
        elif isinstance(command, click.Group):
            child = command.get_command(click.Context(command), word)
            if child is None:
                return "" if word.isupper() else f"there is no command {word!r}"
            command = child
    return ""


def _option(command: click.Command, name: str) -> click.Option | None:
    options = [param for param in command.get_params(click.Context(command)) if isinstance(param, click.Option)]
    return next((option for option in options if name in (*option.opts, *option.secondary_opts)), None)


def _takes_all(command: click.Command, word: str) -> bool:
    return bool(command.context_settings.get("ignore_unknown_options")) and not word.startswith("--")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_exist(page):
    """Every shell line and inline code that begins with `imgtag` uses existing commands and options."""
    assert [] == [f"{line}: {wrong}" for line in lines(page) if (wrong := check(line))]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("imgtag run", ""),
        ("$ imgtag run", ""),
        ("imgtag --config x.toml dlq list --json", ""),
        ("IMGTAG_CONFIG=x imgtag search fox -dog", ""),
        ("imgtag models calibrate FOLDER --model birds [--write]", ""),
        ("imgtag rnu", "there is no command 'rnu'"),
        ("imgtag dlq lst", "there is no command 'lst'"),
        ("imgtag setup --romove", "setup has no option --romove"),
        ("imgtag_red+fox", ""),
    ],
)
def test_the_check_itself(line, wrong):
    """The check reports wrong lines and no others."""
    assert wrong == check(line.removeprefix("$ "))


def test_the_docs_contain_many_commands():
    """The search finds them."""
    assert sum(bool(words(line)) for page in pages() for line in lines(page)) > 150


def test_variables_exist():
    """Every environment variable in the docs is a setting."""
    known = {CONFIG, *_EXAMPLES, *_OF_TESTS, *variables(shape(discover_plugins(env={}, paths=())))}
    for page in pages():
        assert set() == {name for name in _VARIABLE.findall(read(page)) if name not in known}, page
