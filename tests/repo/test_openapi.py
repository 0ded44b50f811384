"""The OpenAPI document: what is committed is what is served, and it is one."""

import json
from pathlib import Path

from openapi_spec_validator import OpenAPIV31SpecValidator

from spoolhouse.api.openapi import document

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_what_is_committed_is_what_is_served() -> None:
    """To renew it: curl http://127.0.0.1:9465/api/v1/openapi.json > docs/openapi.json, from `spoolhouse serve`."""
    assert FILE.read_bytes() == document()


def test_it_is_valid() -> None:
    whole = json.loads(FILE.read_bytes())
    assert [error.message for error in OpenAPIV31SpecValidator(whole).iter_errors()] == []
    names = [one["operationId"] for methods in whole["paths"].values() for one in methods.values()]
    assert len(names) == len(set(names))
