"""The OpenAPI document: the table of routes, the structs of questions and answers, and the events' declarations."""

import re
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from spoolhouse.api import jaeger
from spoolhouse.api.intake import KINDS
from spoolhouse.api.table import TABLE, Route, RouteKind
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.declaration import EventType, Kind
from spoolhouse.events.reference import keys
from spoolhouse.query.wire import Problem

Json = dict[str, Any]

_FAILED = (400, 401, 403, 408, 413, 500, 503)
_MISSING = 404
_MORE = {RouteKind.QUESTION: (504,), RouteKind.LIVE: (504,), RouteKind.JAEGER: (504,), RouteKind.WRITTEN: (501, 507)}
_CODES = {*_FAILED, _MISSING, *(code for codes in _MORE.values() for code in codes)}
_PLACE = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)\}")
_BY_KIND: dict[Kind, Json] = {
    Kind.TEXT: {"type": "string"},
    Kind.NUMBER: {"type": "number"},
    Kind.SCALAR: {"type": ["string", "number"]},
    Kind.TIME: {"type": ["string", "number"], "description": "ISO 8601, or since 1970"},
}


@cache
def document() -> bytes:
    """Return the document, as it is served and as docs/openapi.json has it."""
    structs = list(dict.fromkeys(one for route in TABLE for one in (route.asked, route.gives) if one is not None))
    found, components = msgspec.json.schema_components([*structs, Problem], ref_template=_PLACE)
    schemas: dict[type[Struct], Json] = dict(zip([*structs, Problem], found, strict=True))
    paths: dict[str, Json] = {}
    for route in TABLE:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    whole = {
        "openapi": "3.1.0",
        "info": {"title": "Spoolhouse", "version": "1", "description": "What has landed, asked for over HTTP."},
        "paths": paths,
        "components": {
            "schemas": {**components, **{name: _event(BUILT_IN[name]) for name in KINDS.values()}},
            "responses": {_refusal(code): _problem(code, schemas[Problem]) for code in sorted(_CODES)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


def _operation(route: Route, schemas: dict[type[Struct], Json]) -> Json:
    made: Json = {"summary": route.summary, "operationId": _identifier(route), "responses": _responses(route, schemas)}
    if route.kind is not RouteKind.DOCUMENT:
        made["security"] = [{"token": []}, {}]
    body = _PLACE.format(name=KINDS[route.name]) if route.kind is RouteKind.WRITTEN else None
    schema = {"$ref": body} if body is not None else schemas[route.asked] if route.asked is not None else None
    if schema is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    parameters = [_parameter(name, "path") for name in _PARAMETER.findall(route.path)]
    parameters += [_parameter(name, "query") for name in jaeger.PARAMETERS.get(route.path, ())]
    if route.kind is RouteKind.LIVE:
        parameters.append(_parameter("Last-Event-ID", "header"))
    return {**made, "parameters": parameters} if parameters else made


def _identifier(route: Route) -> str:
    words = re.findall(r"\w+", route.path.removeprefix("/api/").removeprefix("v1/"))
    return "_".join([*({RouteKind.WRITTEN: ["write"], RouteKind.JAEGER: ["jaeger"]}.get(route.kind, [])), *words])


def _parameter(name: str, place: str) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}


def _responses(route: Route, schemas: dict[type[Struct], Json]) -> Json:
    good: Json = {"type": "object"} if route.gives is None else schemas[route.gives]
    if route.kind is RouteKind.LIVE:
        description = (
            "Messages: the id is the cursor, the data a page as this list's page answers it; comments between them."
        )
        content: Json = {"text/event-stream": {"schema": {"type": "string", "description": description}}}
    else:
        content = {"application/json": {"schema": good}}
    status = 202 if route.kind is RouteKind.WRITTEN else 200
    found: Json = {str(status): {"description": HTTPStatus(status).phrase, "content": content}}
    if route.kind is RouteKind.DOCUMENT:
        return found
    missing = (_MISSING,) if route.may_miss else ()
    codes = sorted({*_FAILED, *_MORE[route.kind], *missing})
    return found | {str(code): {"$ref": f"#/components/responses/{_refusal(code)}"} for code in codes}


def _refusal(code: int) -> str:
    return HTTPStatus(code).name


def _problem(code: int, schema: Json) -> Json:
    return {"description": HTTPStatus(code).phrase, "content": {"application/json": {"schema": schema}}}


def _event(event: EventType) -> Json:
    """Return the schema of an event that is written, by the keys to write; docs/event-types.md has the others."""
    columns = [(keys(column)[0], column) for column in event.table.columns if keys(column)]
    required = [key for key, column in columns if column.required and key not in {"id", "timestamp"}]
    return {
        "type": "object",
        "properties": {
            "type": {"const": event.name},
            **{key: _BY_KIND.get(column.kind, {}) for key, column in columns},
        },
        "required": required,
        "dependentRequired": {"id": ["timestamp"]},
    }
