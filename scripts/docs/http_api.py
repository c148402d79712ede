"""The HTTP API: each operation with its parameters and answers, from the description that the API itself gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forms import code, page, slug, table

from imgtag.web.operations import describe
from imgtag.web.routes import OPERATIONS

_INTRO = """\
A running sidecar serves this API, and the [search page](../howto/search-page.md) that uses it, where `listen` in
[\\[web\\]](settings.md#web) says; by default nowhere. `/api/openapi.json` describes it for programs (OpenAPI 3.1).

- **Token.** On loopback none is needed, unless `token` is set. Otherwise send `Authorization: Bearer TOKEN`. The page
  exchanges the token for a cookie.
- **Errors** are JSON: `{"error": {"code": ..., "message": ..., "hint": ...}}`; a wrong query also has
  `"position": {"from": ..., "to": ...}`, in characters. Messages may change; `code` and the status do not.
- **Buckets.** With `buckets` in `[web]`, nothing that is answered depends on other buckets. An object that is hidden
  and one that does not exist have the same answer.
- **Limits.** One client may send 400 requests at once and 40 a second after that; a search, facets, similar images, a
  dashboard and an image to label count as 4. Then it gets 429 with `Retry-After`. Four searches run at a time;
  thumbnails are made while no image waits to be labelled.
- **Queries** are in the [query language](query.md) of `imgtag search`."""


def http_api() -> str:
    """Return the page."""
    document = describe(OPERATIONS)
    rows = [
        (f"[`{method.upper()} {path}`](#{slug(operation['operationId'])})", operation["summary"])
        for path, method, operation in _operations(document)
    ]
    parts = [_section(path, method, operation) for path, method, operation in _operations(document)]
    schemas = document["components"]["schemas"]
    models = [_model(name, schema) for name, schema in sorted(schemas.items())]
    return page("HTTP API", _INTRO, table(["Operation", ""], rows), *parts, "## Answers", *models)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _section(path: str, method: str, operation: Mapping[str, Any]) -> str:
    heading = f"## `{method.upper()} {path}` {{ #{slug(operation['operationId'])} }}"
    parts = [heading, operation["description"]]
    if parameters := operation["parameters"]:
        rows = [
            (code(parameter["name"]), _kind(parameter["schema"]), parameter["description"]) for parameter in parameters
        ]
        parts.append(table(["Parameter", "Value", ""], rows))
    if "requestBody" in operation:
        parts.append(f"Body: {_contents(operation['requestBody'])}.")
    answers = [f"{status} {_contents(answer)}" for status, answer in operation["responses"].items() if status < "400"]
    common = {"400", "401", "403", "421", "429", "502", "503", "504"}
    errors = [
        f"{status}: {answer['description'].rstrip('.')}"
        for status, answer in operation["responses"].items()
        if status >= "400" and status not in common
    ]
    parts.append(f"Answers: {'; '.join(answers)}." + (f" Errors: {'; '.join(errors)}." if errors else ""))
    return "\n\n".join(part.strip("\n") for part in parts)


def _contents(answer: Mapping[str, Any]) -> str:
    names = []
    for media_type, content in answer.get("content", {}).items():
        reference = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        names.append(f"[{reference}](#{slug(reference)})" if reference else code(media_type))
    return ", ".join(names) or "without a body"


def _model(name: str, schema: Mapping[str, Any]) -> str:
    rows = [
        (code(field), _kind(about), about.get("description", ""))
        for field, about in schema.get("properties", {}).items()
    ]
    text = " ".join(schema.get("description", "").split())
    return f"### {name} {{ #{slug(name)} }}\n\n{text}\n\n{table(['Field', 'Value', ''], rows)}".strip("\n")


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{slug(name)})"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(code(str(value)) for value in schema["enum"])
    kind = {"integer": "whole number", "string": "text", "boolean": "true or false", "null": "null"}.get(
        schema.get("type", ""), schema.get("type", "")
    )
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object":
        return f"name: {_kind(schema['additionalProperties'])}" if "additionalProperties" in schema else "table"
    limits = [f"from {schema['minimum']:,}"] if "minimum" in schema else []
    limits += [f"to {schema['maximum']:,}"] if "maximum" in schema else []
    default = schema.get("default")
    return " ".join([kind, *limits]) + (f", default {code(str(default))}" if default not in {None, "", ()} else "")
