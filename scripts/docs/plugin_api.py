"""What plugin authors see: the public classes and functions, with their docstrings, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from itertools import pairwise

from forms import page, prose, slug
from sources import module

_INTRO = """\
Import these names from `imgtag.plugin` itself, and errors from `imgtag.errors`. Other modules of the sidecar may change
between releases, including the ones that define these names. Arguments are frozen dataclasses whose new fields get
defaults, so that existing plugins keep working; a plugin declares with `api` the version it was made for. [Write a
plugin](../plugins.md) is the guide; `imgtag.testing.conformance` has the suites that a plugin must pass."""

_MODULES = (
    "imgtag.plugin.spec",
    "imgtag.plugin.service",
    "imgtag.plugin.source",
    "imgtag.plugin.store",
    "imgtag.plugin.classifier",
    "imgtag.plugin.image",
    "imgtag.plugin.indexer",
    "imgtag.flow.local_queue",
    "imgtag.types.event",
    "imgtag.types.ref",
    "imgtag.types.facts",
    "imgtag.labels.taxonomy",
    "imgtag.query.ast",
)


def plugin_api() -> str:
    """The page."""
    return page("Plugin API", _INTRO, *(part for name in _MODULES for part in _module(name)))


def _module(name: str) -> Iterator[str]:
    tree = module(name)
    yield f"## `{name}` {{ #{slug(name)} }}\n\n{prose(ast.get_docstring(tree) or '')}"
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield _class(name, node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield f"### `{node.name}` {{ #{slug(name)}-{slug(node.name)} }}\n\n{_function(node)}"


def _class(module_name: str, node: ast.ClassDef) -> str:
    bases = [ast.unparse(base) for base in node.bases]
    kind = "protocol" if "Protocol" in bases else "frozen dataclass" if _frozen(node) else "class"
    above = [base for base in bases if base != "Protocol"]
    said = f"*{kind}{' of ' + ', '.join(f'`{base}`' for base in above) if above else ''}*"
    parts = [
        f"### `{node.name}` {{ #{slug(module_name)}-{slug(node.name)} }}",
        said,
        prose(ast.get_docstring(node) or ""),
    ]
    parts += _attributes(node.body)
    parts += [_function(each) for each in node.body if _is_public(each)]
    return "\n\n".join(filter(None, parts))


def _frozen(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(each) for each in node.decorator_list)


def _is_public(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")


def _attributes(body: Sequence[ast.stmt]) -> list[str]:
    """Fields and constants, each with the text behind it, as one list."""
    found = []
    for node, behind in pairwise([*body, ast.Pass()]):
        if isinstance(node, ast.AnnAssign | ast.Assign) and not ast.unparse(node).startswith("_"):
            about = ""
            if isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
                about = f": {prose(str(behind.value.value))}"
            found.append(f"- `{ast.unparse(node)}`{about}")
    return ["\n".join(found)] if found else []


def _function(node: ast.stmt) -> str:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef), "others were left out"
    head = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    marks = [f"@{ast.unparse(each)}" for each in node.decorator_list]
    code = "\n".join([*marks, f"{head} {node.name}({ast.unparse(node.args)}){returns}"])
    text = prose(ast.get_docstring(node) or "")
    return f"```python\n{code}\n```" + (f"\n\n{text}" if text else "")
