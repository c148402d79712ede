"""The reference is complete and up to date."""

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
from imgtag.config.load import discover_plugins
from imgtag.config.schema import CoreSettings
from imgtag.config.shape import shape
from imgtag.errors import ImgtagError
from imgtag.ops.metrics import Metrics
from imgtag.plugin.spec import KINDS
from imgtag.query import parse

SCRIPTS = ROOT / "scripts" / "docs"


def page(name):
    return (SITE / "reference" / f"{name}.md").read_text()


def commands(command=cli, path=("imgtag",)):
    """Yield every command with its path."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*path, name))


def test_the_generated_pages_are_up_to_date():
    """After a change of settings, commands, metrics or errors, run `make docs-reference`."""
    process = subprocess.run([sys.executable, SCRIPTS, "--check"], capture_output=True, text=True, timeout=100)

    assert (0, "") == (process.returncode, process.stdout), process.stdout + process.stderr


def test_every_setting_has_its_variable_and_heading():
    """This includes plugins and the file form of secrets."""
    registry = discover_plugins(env={}, paths=())
    for name in variables(shape(registry)):
        assert f"`{name}`" in page("settings"), name
    for kind in KINDS:
        for name, spec in registry.usable(kind).items():
            fields = {f"{kind}-{name}-{field.replace('_', '-')}" for field in spec.settings.model_fields}
            assert {f"{kind}-{name}", *fields} <= anchors(SITE / "reference" / "settings.md")
            assert spec.summary in page("settings")


def test_every_section_has_its_heading():
    """This includes lists of tables."""
    assert {name.replace("_", "-") for name in CoreSettings.model_fields} <= anchors(SITE / "reference" / "settings.md")


def test_every_metric_has_its_row():
    """The row has type and help of the metric."""
    for metric in Metrics().describe():
        assert f"| `{metric.name}` | {metric.kind} |" in page("metrics")
        assert metric.help in page("metrics")


EVERY = {" ".join(path): command for path, command in commands()}


@pytest.mark.parametrize("name", EVERY)
def test_every_command_has_its_heading_and_options(name):
    """The section of each command lists its options."""
    section = re.search(rf"^#+ `{re.escape(name)}` .*?(?=^##|\Z)", page("commands"), re.MULTILINE | re.DOTALL)

    assert section
    for option in EVERY[name].params:
        if isinstance(option, click.Option) and not option.hidden:
            assert all(name in section[0] for name in option.opts), option.opts


def test_every_command_is_listed():
    """Every top-level command has a section."""
    assert {f"imgtag {name}" for name in COMMANDS} <= EVERY.keys()


def test_every_error_has_its_row():
    """This includes errors of plugins that are imported here."""
    text = page("errors")
    kinds = [ImgtagError]
    while kinds:
        kind = kinds.pop()
        kinds += [child for child in kind.__subclasses__() if child.__module__.startswith(("imgtag.", "imgtag_"))]
        if ".testing" not in kind.__module__:
            assert re.search(rf"^\| `(\w+\.)?{kind.__name__}` \|", text, re.MULTILINE), kind


def test_every_code_in_the_sources_is_described(monkeypatch):
    """Every code in the sources has a row."""
    monkeypatch.syspath_prepend(SCRIPTS)
    failures = importlib.import_module("failures")

    assert set() == failures.codes() - failures.described()
    for code in failures.described():
        assert f"| `{code}` |" in page("errors"), code


def test_every_query_of_the_page_is_one():
    """The parser accepts every query in the table."""
    rows = re.findall(r"^\| `([^`]+)` \|", page("query"), re.MULTILINE)

    assert len(rows) > 20
    for row in rows:
        parse(row.replace("\\|", "|"))


def test_troubleshooting_knows_every_message(monkeypatch):
    """It covers configuration findings, failed checks, and log warnings and errors."""
    monkeypatch.syspath_prepend(SCRIPTS)
    messages = importlib.import_module("messages")
    text = _folded((SITE / "troubleshooting.md").read_text())
    known = {*messages.findings(), *messages.checks(), *messages.warnings()}

    assert len(known) > 60
    assert [] == sorted(message for message in known if _folded(message) not in text)


def _folded(text):
    """Merge adjacent placeholders."""
    return re.sub("…+", "…", text)
