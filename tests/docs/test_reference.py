"""The reference says all that there is, and nothing that there is not."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import click
import pytest

from docs.pages import ROOT, SITE, anchors
from imgtag.cli.main import COMMANDS, cli
from imgtag.config.environment import variables
from imgtag.config.load import plugins
from imgtag.config.schema import Core
from imgtag.config.shape import shape
from imgtag.errors import ImgtagError
from imgtag.ops.metrics import Metrics
from imgtag.plugin.spec import KINDS
from imgtag.query import parse

SCRIPTS = ROOT / "scripts" / "docs"


def page(name):
    return (SITE / "reference" / f"{name}.md").read_text()


def commands(command=cli, path=("imgtag",)):
    """Every command, with its words."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


def test_the_pages_are_those_that_the_code_makes():
    """Whoever changes a setting, command, metric or error makes the pages anew: `make docs-reference`."""
    done = subprocess.run([sys.executable, SCRIPTS, "--check"], capture_output=True, text=True, timeout=100)

    assert (0, "") == (done.returncode, done.stdout), done.stdout + done.stderr


def test_every_setting_has_its_variable_and_heading():
    """Also those of plugins, and the file form of secrets."""
    registry = plugins(env={}, paths=())
    for name in variables(shape(registry)):
        assert f"`{name}`" in page("settings"), name
    for kind in KINDS:
        for name, spec in registry.usable(kind).items():
            fields = {f"{kind}-{name}-{field.replace('_', '-')}" for field in spec.settings.model_fields}
            assert {f"{kind}-{name}", *fields} <= anchors(SITE / "reference" / "settings.md")
            assert spec.summary in page("settings")


def test_every_section_has_its_heading():
    """Lists of tables too."""
    assert {name.replace("_", "-") for name in Core.model_fields} <= anchors(SITE / "reference" / "settings.md")


def test_every_metric_has_its_row():
    """With what it says of itself."""
    for metric in Metrics().describe():
        assert f"| `{metric.name}` | {metric.kind} |" in page("metrics")
        assert metric.help in page("metrics")


EVERY = {" ".join(path): command for path, command in commands()}


@pytest.mark.parametrize("name", EVERY)
def test_every_command_has_its_heading_and_options(name):
    """Options stand in the part of their command."""
    part = re.search(rf"^#+ `{re.escape(name)}` .*?(?=^##|\Z)", page("commands"), re.MULTILINE | re.DOTALL)

    assert part
    for option in EVERY[name].params:
        if isinstance(option, click.Option) and not option.hidden:
            assert all(each in part[0] for each in option.opts), option.opts


def test_every_command_is_listed():
    """Those of the top level at least."""
    assert {f"imgtag {name}" for name in COMMANDS} <= EVERY.keys()


def test_every_error_has_its_row():
    """Those of plugins too, as far as they are imported here."""
    text = page("errors")
    below = [ImgtagError]
    while below:
        kind = below.pop()
        below += [child for child in kind.__subclasses__() if child.__module__.startswith(("imgtag.", "imgtag_"))]
        if ".testing" not in kind.__module__:
            assert re.search(rf"^\| `(\w+\.)?{kind.__name__}` \|", text, re.MULTILINE), kind


def test_every_code_of_the_sources_is_told(monkeypatch):
    """Codes that stand in the sources have a row."""
    monkeypatch.syspath_prepend(SCRIPTS)
    failures = importlib.import_module("failures")

    assert set() == failures.codes() - failures.described()
    for code in failures.described():
        assert f"| `{code}` |" in page("errors"), code


def test_every_query_of_the_page_is_one():
    """What the table shows can be typed."""
    rows = re.findall(r"^\| `([^`]+)` \|", page("query"), re.MULTILINE)

    assert len(rows) > 20
    for row in rows:
        parse(row.replace("\\|", "|"))


def test_troubleshooting_knows_every_message(monkeypatch):
    """Findings of a configuration, failed checks, warnings and errors of the log."""
    monkeypatch.syspath_prepend(SCRIPTS)
    messages = importlib.import_module("messages")
    text = _folded((SITE / "troubleshooting.md").read_text())
    said = {*messages.findings(), *messages.checks(), *messages.warnings()}

    assert len(said) > 60
    assert [] == sorted(message for message in said if _folded(message) not in text)


def _folded(text):
    """One hole where there are several."""
    return re.sub("…+", "…", text)
