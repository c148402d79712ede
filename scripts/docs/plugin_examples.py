"""The example plugins, whole: every file that an author would copy."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from forms import code, page, slug
from sources import ROOT

_INTRO = """\
These are the examples of [Write a plugin](../plugins.md), file by file, as they are in the folder `examples` of the
source. imgtag's own tests install them, run their tests, and use them through the command."""


def plugin_examples() -> str:
    """Return the page."""
    examples = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))
    return page("Example plugins", _INTRO, *(part for example in examples for part in _example(example)))


def _example(path: Path) -> Iterator[str]:
    project = tomllib.loads((path / "pyproject.toml").read_text())["project"]
    yield f"## {code(project['name'])} {{ #{slug(project['name'])} }}\n\n{project['description']}."
    for file in sorted((*path.glob("*.toml"), *path.glob(f"{path.name}/*.py"), *path.glob("tests/*.py"))):
        kind = "toml" if file.suffix == ".toml" else "python"
        mark = "<!-- no configuration: metadata of the package -->\n" if kind == "toml" else ""
        yield f"### {code(str(file.relative_to(path)))}\n\n{mark}```{kind}\n{file.read_text().strip()}\n```"
