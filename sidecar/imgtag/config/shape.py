"""The keys that a configuration may have, as a tree of tables and fields.

Made from the settings models; environment, credential files and the example walk over it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import UnionType
from typing import Annotated, Any, TypeAlias, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr

from imgtag.config.schema import MAY_BE_EMPTY, CoreSettings
from imgtag.plugin.spec import FROM_FILE, KINDS, Settings
from imgtag.registry import Registry

FILE = "_file"
"""A credential `x` may be given as `x_file`, the path of a file that holds it."""


@dataclass(frozen=True)
class Leaf:
    """A key that holds a value."""

    secret: bool = False
    from_file: bool = False
    """May be given as the path of a file: secrets, and what belongs to them."""
    structured: bool = False
    """Lists and tables are among its values."""
    scalar: bool = True
    """Numbers, words and the like are among its values."""
    items: Table | None = None
    """The keys of each table, where it is a list of tables."""
    may_be_empty: bool = False
    """An empty value has a meaning, so an empty variable may set it."""
    removed: str = ""
    """For a key of earlier versions: what the finding says about it."""


Table: TypeAlias = Mapping[str, "Leaf | Table"]


def shape(registry: Registry) -> Table:
    """All keys: the sidecar's own, and those of every usable plugin."""
    keys = dict(table(CoreSettings))
    for kind in KINDS:
        keys[kind] = {name: table(spec.settings) for name, spec in registry.usable(kind).items()}
    return keys


def table(model: type[BaseModel]) -> Table:
    """The keys of one settings model, with the `_file` names of its credentials."""
    keys: dict[str, Leaf | Table] = {}
    for name, field in model.model_fields.items():
        keys[name] = node = _node(field.annotation)
        is_credential = is_secret(node) or FROM_FILE in field.metadata
        if isinstance(node, Leaf) and is_credential and name + FILE not in model.model_fields:
            keys[name] = replace(node, from_file=True)
            keys[name + FILE] = Leaf()
        elif isinstance(node, Leaf) and MAY_BE_EMPTY in field.metadata:
            keys[name] = replace(node, may_be_empty=True)
    if issubclass(model, Settings):
        keys |= {name: Leaf(removed=message) for name, message in model.removed.items()}
    return keys


def is_secret(node: Leaf | Table | None) -> bool:
    """Whether the value must never be shown."""
    return isinstance(node, Leaf) and node.secret


def leaves(keys: Table, *path: str) -> Iterator[tuple[str, ...]]:
    """The paths of all values."""
    for name, node in keys.items():
        if isinstance(node, Leaf):
            if not node.removed:
                yield (*path, name)
        else:
            yield from leaves(node, *path, name)


def descend(keys: Leaf | Table, path: Iterable[str | int]) -> Leaf | Table | None:
    """The node at the path, or None where there is none; a number goes into a list of tables."""
    node: Leaf | Table | None = keys
    for part in path:
        if isinstance(node, Leaf):
            node = node.items if isinstance(part, int) else None
        elif node is not None:
            node = node.get(str(part))
    return node


def _node(annotation: Any) -> Leaf | Table:
    kinds = list(alternatives(annotation))
    models = [kind for kind in kinds if _is_model(kind)]
    if len(models) == len(kinds) == 1:
        return table(models[0])
    structured = [kind for kind in kinds if kind in models or _is_collection(kind)]
    return Leaf(
        secret=any(isinstance(kind, type) and issubclass(kind, SecretStr | SecretBytes) for kind in kinds),
        structured=bool(structured),
        scalar=len(structured) < len(kinds),
        items=next((table(part) for kind in structured for part in get_args(kind) if _is_model(part)), None),
    )


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def alternatives(annotation: Any) -> Iterator[Any]:
    """What the annotation may be, but for None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from alternatives(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for part in get_args(annotation):
            yield from alternatives(part)
    elif annotation is not type(None):
        yield annotation


def _is_collection(kind: Any) -> bool:
    bare = get_origin(kind) or kind
    return isinstance(bare, type) and issubclass(bare, Collection) and not issubclass(bare, str | bytes)
