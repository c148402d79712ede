"""What plugin authors import: complete, documented, and enough for the guide and the examples."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.pages import ROOT, SITE, blocks
from imgtag import errors, plugin, testing

FACES = {"imgtag.plugin": plugin, "imgtag.testing": testing}
ERRORS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
PUBLIC = {"imgtag.plugin": set(plugin.__all__), "imgtag.testing": set(testing.__all__), "imgtag.errors": ERRORS}
BLOCKS = {
    "imgtag.plugin.notifications": {"Content", "parse"},
    "imgtag.plugin.hint_messages": {"encode", "decode"},
    "imgtag.models.image_model": {"ImageModel"},
}
PUBLIC |= BLOCKS
CODE = {str(block): block.text for block in blocks(SITE / "plugins.md") if block.kind == "python"}
PLUGINS = [project.parent for project in (ROOT / "examples").glob("*/pyproject.toml")]
CODE |= {str(path.relative_to(ROOT)): path.read_text() for folder in PLUGINS for path in folder.rglob("*.py")}


@pytest.mark.parametrize("face", FACES.values(), ids=FACES)
def test_every_name_is_there(face):
    """Each name of `__all__` can be imported, stands there once, and is listed by `dir`."""
    assert all(getattr(face, name) is not None for name in face.__all__)
    assert sorted(face.__all__) == sorted(set(face.__all__)) == dir(face)


@pytest.mark.parametrize("face", FACES.values(), ids=FACES)
def test_names_are_those_that_a_type_checker_sees(face):
    """The imports for type checkers and those on first use name the same."""
    tree = ast.parse(Path(face.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]  # TYPE_CHECKING
    imported = {(node.module, alias.name) for node in block.body for alias in node.names}
    assert {(module, name) for module, names in face._HOMES.items() for name in names} == imported
    assert set(face.__all__) == {name for _, name in imported}


def test_every_name_is_documented():
    """The API page has a section or an entry for each, and no others."""
    page = (SITE / "reference" / "plugin-api.md").read_text()
    before, _, after = page.partition("## `imgtag.testing`")
    headings = set(re.findall(r"^### `(\w+)`", before.partition("## `imgtag.errors`")[0], re.MULTILINE))
    constants = set(re.findall(r"^- `(\w+)(?:: [^=`]+)? = ", before, re.MULTILINE)) & PUBLIC["imgtag.plugin"]
    assert PUBLIC["imgtag.plugin"] | {name for names in BLOCKS.values() for name in names} == headings | constants
    assert PUBLIC["imgtag.testing"] == set(re.findall(r"^- `(\w+)`: ", after, re.MULTILINE))


@pytest.mark.parametrize("text", CODE.values(), ids=CODE)
def test_guide_and_examples_need_no_other_name(text):
    """They import from the public face alone, and only what is there."""
    for line in re.findall(r"^from imgtag[.\w]* import (?:\([^)]*\)|[^(\n]*)$", text, re.MULTILINE):
        (node,) = ast.parse(line).body
        if node.module.partition(".")[0] == "imgtag":
            assert {alias.name for alias in node.names} <= PUBLIC[node.module], line


def test_what_is_for_tests_needs_no_pytest():
    """Plugins in memory and the meaning of a query are loaded without the suites."""
    code = (
        "import sys; from imgtag.testing import MemoryIndexer, matches, rank_documents; print('pytest' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False\n" == answer.stdout
