"""What plugin authors import from `imgtag.plugin`, `imgtag.errors` and `imgtag.testing`, with the docstrings."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise

from forms import page, prose, slug
from sources import module

from imgtag import plugin, testing

_INTRO = """\
Import these names from `imgtag.plugin` itself, errors from `imgtag.errors`, and [building blocks](#building-blocks)
from their modules. Other modules of the sidecar may change between releases, including the ones that define these
names. Arguments are frozen dataclasses whose new fields get defaults, so that existing plugins keep working; a plugin
declares with `api` the version it was made for. [Write a plugin](../plugins.md) is the guide; `imgtag.testing` has the
suites that a plugin must pass."""

_ERRORS = """\
Without a message, an error has the text of its class. `hint` tells a person what to do; without one it is the hint of
the class. `code` is what documents, dead letters and metrics carry. All classes are called like `ImgtagError`, except
those below. What each means, and what the sidecar does about it, is on the page [errors](errors.md)."""

_MODULES = (
    "imgtag.plugin.spec",
    "imgtag.plugin.service",
    "imgtag.plugin.task_service",
    "imgtag.plugin.source",
    "imgtag.plugin.local_source",
    "imgtag.flow.local_queue",
    "imgtag.plugin.backfills",
    "imgtag.plugin.store",
    "imgtag.plugin.classifier",
    "imgtag.types.detections",
    "imgtag.types.prepared_image",
    "imgtag.plugin.image",
    "imgtag.plugin.indexer",
    "imgtag.types.event",
    "imgtag.types.ref",
    "imgtag.types.shared_record",
    "imgtag.types.document",
    "imgtag.types.dead_letter",
    "imgtag.types.folding",
    "imgtag.labels.taxonomy",
    "imgtag.query.ast",
    "imgtag.types.vector",
)

BLOCKS = {
    "imgtag.plugin.notifications": ("Content", "parse"),
    "imgtag.plugin.hint_messages": ("encode", "decode"),
    "imgtag.models.image_model": ("ImageModel",),
}
"""What some plugins build on, by the modules from which they import it."""

_BLOCKS = """\
Import these from the modules that are named here. Those of `imgtag.models` may change between releases, so name a
version of `imgtag-sidecar` in your package; the others are as stable as `imgtag.plugin`."""


def plugin_api() -> str:
    """Return the page."""
    public = plugin.__all__
    missing = set(public) - {name for path in _MODULES for node in module(path).body for name in _names(node, public)}
    assert not missing, f"add the modules that define these names to {__file__}: {sorted(missing)}"
    contracts = [part for path in _MODULES for part in _module(path, public)]
    blocks = [part for path, names in BLOCKS.items() for part in _module(path, names)]
    heading = f"## Building blocks {{ #building-blocks }}\n\n{_BLOCKS}"
    return page("Plugin API", _INTRO, *contracts, heading, *blocks, *_errors(), _testing())


def _names(node: ast.stmt, public: Collection[str]) -> Iterator[str]:
    """Yield the public names that a statement defines."""
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            names = [name]
        case ast.Assign(targets=targets):
            names = [ast.unparse(target) for target in targets]
        case ast.AnnAssign(target=target):
            names = [ast.unparse(target)]
        case _:
            names = []
    yield from (name for name in names if name in public)


def _module(path: str, public: Collection[str]) -> Iterator[str]:
    tree = module(path)
    yield f"## `{path}` {{ #{slug(path)} }}\n\n{prose(ast.get_docstring(tree) or '')}"
    yield from _attributes(tree.body, lambda node: any(_names(node, public)))
    for node in tree.body:
        for name in _names(node, public):
            if isinstance(node, ast.ClassDef):
                yield _class(path, node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"### `{name}` {{ #{slug(path)}-{slug(name)} }}\n\n{_function(node)}"


def _errors() -> Iterator[str]:
    """Yield how each kind of error is raised; their meaning is on a page of its own."""
    yield f"## `imgtag.errors` {{ #{slug('imgtag.errors')} }}\n\n{_ERRORS}"
    for node in module("imgtag.errors").body:
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                    arguments = ast.unparse(method.args).removeprefix("self, ")
                    anchor = f"{slug('imgtag.errors')}-{slug(node.name)}"
                    yield f"### `{node.name}` {{ #{anchor} }}\n\n```python\n{node.name}({arguments})\n```"


def _testing() -> str:
    """Return what is for tests: the first paragraph of each docstring."""
    lines = []
    for name in testing.__all__:
        summary = (inspect.getdoc(getattr(testing, name)) or "").partition("\n\n")[0].replace("\n", " ")
        lines.append(f"- `{name}`: {prose(summary)}")
    about = prose(inspect.getdoc(testing) or "")
    return "\n\n".join([f"## `imgtag.testing` {{ #{slug('imgtag.testing')} }}", about, "\n".join(lines)])


def _class(path: str, node: ast.ClassDef) -> str:
    bases = [ast.unparse(base) for base in node.bases]
    kind = "protocol" if "Protocol" in bases else "frozen dataclass" if _frozen(node) else "class"
    parents = ", ".join(f"`{base}`" for base in bases if base != "Protocol")
    parts = [
        f"### `{node.name}` {{ #{slug(path)}-{slug(node.name)} }}",
        f"*{kind}{f' of {parents}' if parents else ''}*",
        prose(ast.get_docstring(node) or ""),
        *_attributes(node.body, lambda field: not ast.unparse(field).startswith("_")),
        *(_function(method) for method in node.body if _is_public(method)),
    ]
    return "\n\n".join(filter(None, parts))


def _frozen(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _is_public(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")


def _attributes(body: Sequence[ast.stmt], is_shown: Callable[[ast.stmt], bool]) -> list[str]:
    """Return fields and constants, each with the docstring that follows it, as one list; no list without any."""
    lines = []
    for node, following in pairwise([*body, ast.Pass()]):
        if isinstance(node, ast.AnnAssign | ast.Assign) and is_shown(node):
            about = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                about = f": {prose(str(following.value.value))}"
            lines.append(f"- `{ast.unparse(node)}`{about}")
    return ["\n".join(lines)] if lines else []


def _function(node: ast.stmt) -> str:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef), "callers pass functions only"
    head = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    marks = [f"@{ast.unparse(decorator)}" for decorator in node.decorator_list]
    code = "\n".join([*marks, f"{head} {node.name}({ast.unparse(node.args)}){returns}"])
    text = prose(ast.get_docstring(node) or "")
    return f"```python\n{code}\n```" + (f"\n\n{text}" if text else "")
