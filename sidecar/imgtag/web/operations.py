"""The operations of the API, and its description (https://spec.openapis.org/oas/v3.1.0) made from them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response

from imgtag import __version__
from imgtag.web.answers import ErrorAnswer
from imgtag.web.errors import HttpError
from imgtag.web.parameters import NoParameters, Parameters

MAX_SECONDS = 20.0
"""Until an operation must have its answer."""
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_COMMON_ERRORS = {
    400: "A parameter or the query is invalid.",
    401: "The token is missing or wrong.",
    403: "The request comes from another site.",
    421: "The Host header names another server.",
    429: "This client sends too many requests; see `Retry-After`.",
    502: "The index or the store cannot be used.",
    503: "The index or the store does not answer, or too many requests wait; see `Retry-After`.",
    504: "It took too long.",
}

LaneName = Literal["searches", "pictures", "originals", "uploads"]
Content = type[BaseModel] | Sequence[str] | None
"""What an answer holds: JSON of a model, bytes of one of these types, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path. The docstring of its handler is its description."""

    name: str
    method: str
    path: str
    handler: Callable[[Any, Request, Any], Awaitable[BaseModel | Response]]
    """Given the API, the request and its parameters."""
    answers: Mapping[int, Content]
    parameters: type[Parameters] = NoParameters
    body: Content = None
    errors: Mapping[int, str] = field(default_factory=dict)
    """Statuses of errors beside those that every operation has."""
    lane: LaneName | None = None
    """The line in which it waits."""
    seconds: float | None = MAX_SECONDS
    """None: it ends when the client leaves."""

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        return self.description.partition(". ")[0].partition(".\n")[0].rstrip(".")

    @property
    def description(self) -> str:
        """What it does."""
        return " ".join((self.handler.__doc__ or "").split())

    def read(self, request: Request) -> Parameters:
        """The parameters of a request. Raises HttpError."""
        try:
            return self.parameters.model_validate({**request.query_params, **request.path_params})
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, problem["loc"])) or "parameters"
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                message = "there is no such parameter"
            if name == "id":
                raise HttpError(404, "absent", "there is no such object") from None
            hint = f"Parameters are {', '.join(self.parameters.model_fields) or 'none'}."
            raise HttpError(400, "parameter", f"{name[:60]}: {message[:1].lower()}{message[1:]}", hint) from None


def describe(operations: Sequence[Operation]) -> Mapping[str, Any]:
    """The OpenAPI document of these operations."""
    models = {ErrorAnswer} | {
        content
        for operation in operations
        for content in (operation.body, *operation.answers.values())
        if isinstance(content, type)
    }
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "serialization") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe_operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imgtag",
            "version": __version__,
            "description": "Search of labelled images, beside their store.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "imgtag_session"},
            },
        },
        "security": [{"bearer": []}, {"session": []}, {}],
    }


def _describe_operation(operation: Operation) -> Mapping[str, Any]:
    in_path = set(_PATH_PARAMETER.findall(operation.path))
    schema = operation.parameters.model_json_schema(mode="validation")
    required = set(schema.get("required", ()))
    parameters = []
    for name, field_schema in schema.get("properties", {}).items():
        if name.startswith("_"):
            continue
        place = "path" if name in in_path else "query"
        about = {key: value for key, value in field_schema.items() if key not in {"title", "description"}}
        parameters.append(
            {
                "name": name,
                "in": place,
                "required": name in required,
                "description": field_schema.get("description", ""),
                # A list is one text with commas.
                **({"style": "form", "explode": False} if about.get("type") == "array" else {}),
                "schema": about,
            }
        )
    responses: dict[str, Any] = {
        str(status): {"description": _describe_answer(content), **_content(content)}
        for status, content in operation.answers.items()
    }
    for status, text in sorted({**_COMMON_ERRORS, **operation.errors}.items()):
        responses.setdefault(str(status), {"description": text, **_content(ErrorAnswer)})
    body = {"requestBody": {"required": True, **_content(operation.body)}} if operation.body else {}
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.description,
        "parameters": parameters,
        **body,
        "responses": responses,
    }


def _describe_answer(content: Content) -> str:
    if isinstance(content, type):
        return " ".join((content.__doc__ or "").split())
    return "Bytes." if content else "Nothing."


def _content(content: Content) -> Mapping[str, Any]:
    if isinstance(content, type):
        return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{content.__name__}"}}}}
    if content:
        return {"content": {media_type: {} for media_type in content}}
    return {}
