"""Templates of declared types: a value for the kind of each column, under the column's first key."""

from functools import partial

from spoolhouse.events import json_paths
from spoolhouse.events.declaration import Column, EventType, Fill, Kind
from spoolhouse.export.samples import template
from spoolhouse.export.samples.events import Choice, EventTemplate
from spoolhouse.export.samples.template import FILE, Scope, Table, compiled

_ABSENT_RATE = 0.2
"""How often an event leaves a Nullable column out."""

_Field = tuple[tuple[str, ...], template.Fill, bool]
"""The path of a value, how it is filled, and whether it may be left out."""


def template_of(event: EventType) -> EventTemplate:
    """Return a template of a declared type."""
    fields: list[_Field] = []
    for column in event.table.columns:
        if column.fill is not Fill.CLOCK and column.keys:
            fill = compiled(_value(event, column), {**FILE["lists"], "choices": list(column.choices)})
            fields.append((json_paths.steps(column.keys[0]), fill, column.nullable and not column.required))
    choice = (Choice(fill=partial(_filled, fields), let={"coin": lambda scope: scope.random.random() < 0.5}),)  # noqa: PLR2004  # a coin
    return EventTemplate(at=0, variants={(failed, flat): choice for failed in (False, True) for flat in (False, True)})


def _filled(fields: list[_Field], scope: Scope) -> Table:
    result: Table = {}
    for path, fill, optional in fields:
        # Both are drawn in any case: a field that is left out must not change the others.
        value, absent = fill(scope), scope.random.random() < _ABSENT_RATE
        if not (optional and absent):
            inner = result
            for step in path[:-1]:
                inner = inner.setdefault(step, {})
            inner[path[-1]] = value
    return result


def _value(event: EventType, column: Column) -> object:
    if column.name == event.project:
        return "${project}"
    if column.kind is Kind.TIME and column.name == event.table.time:
        return "${time:trace_end}"
    value = FILE["kinds"][
        "LOW_CARDINALITY" if column.kind is Kind.TEXT and column.low_cardinality else column.kind.name
    ]
    return value.replace("${column}", column.name) if isinstance(value, str) else value
