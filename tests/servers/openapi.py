"""JSON schemas, as kubeconform reads them, of what an API server says of its objects (/openapi/v2)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOCATION = "{{ .ResourceKind }}{{ .KindSuffix }}.json"
"""The names of the files, as kubeconform wants to be told."""
_REF = "#/definitions/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"

Schema = dict[str, Any]


def write_schemas(openapi: Mapping[str, Any], kinds: set[tuple[str, str]], folder: Path) -> None:
    """One file for each kind; ``kinds`` are pairs such as ``("apps/v1", "Deployment")``."""
    folder.mkdir(parents=True, exist_ok=True)
    definitions = openapi["definitions"]
    for definition in definitions.values():
        for version, kind in _named(definition):
            if (version, kind) in kinds:
                group, _, bare = version.rpartition("/")
                parts = [kind.lower(), *([group.split(".")[0]] if group else []), bare]
                (folder / f"{'-'.join(parts)}.json").write_text(json.dumps(_strict(definition, definitions)))


def _named(definition: Schema) -> Iterator[tuple[str, str]]:
    for names in definition.get("x-kubernetes-group-version-kind", []):
        group = f"{names['group']}/" if names["group"] else ""
        yield f"{group}{names['version']}", names["kind"]


def _strict(schema: Schema, definitions: Mapping[str, Any]) -> Schema:
    """Without references, and without room for names that are not in it."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return {"type": ["string", "number"]} if name == _QUANTITY else _strict(definitions[name], definitions)
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    kept = {key: schema[key] for key in ("type", "required", "enum", "pattern") if key in schema}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            kept[key] = _strict(schema[key], definitions)
    if "properties" in schema:
        kept["properties"] = {name: _strict(each, definitions) for name, each in schema["properties"].items()}
        kept.setdefault("additionalProperties", False)
    return kept
