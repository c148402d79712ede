"""The description of the API, which is made from the operations themselves."""

from __future__ import annotations

import json
import re

from jsonschema import Draft202012Validator

from imgtag.web.operations import describe
from imgtag.web.routes import OPERATIONS

DESCRIPTION = describe(OPERATIONS)


def test_every_reference_leads_somewhere():
    """And every model is a valid JSON schema."""
    text = json.dumps(DESCRIPTION)
    schemas = DESCRIPTION["components"]["schemas"]

    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) <= set(schemas)
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_is_described():
    """With a name of its own, a text, its parameters in the path, an answer and the errors that all have."""
    operations = [(path, operation) for path, methods in DESCRIPTION["paths"].items() for operation in methods.values()]
    assert len(OPERATIONS) == len({operation["operationId"] for _, operation in operations})
    for path, operation in operations:
        named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
        assert set(re.findall(r"\{(\w+)\}", path)) == named
        assert operation["description"].endswith(".")
        assert all(parameter["description"] for parameter in operation["parameters"])
        assert {"400", "401", "403", "421", "429", "503", "504"} <= set(operation["responses"])
        assert min(operation["responses"]) < "300"
