"""Sample events of any type that is declared: a value of each column's kind, under the column's first key."""

from collections.abc import Callable
from typing import Any

from spoolhouse.events import json_paths
from spoolhouse.events.declaration import Column, EventType, Fill, Kind
from spoolhouse.export.sample_trace import Fields, Trace, time_text

_ABSENT_RATE = 0.2
"""How often an event leaves a Nullable column out."""


def maker(event: EventType) -> Callable[[Trace, int], Fields]:
    """Return what makes sample events of a declared type: one for each trace."""

    def make(trace: Trace, _index: int) -> Fields:
        fields: Fields = {}
        for column in event.table.columns:
            if column.fill is Fill.CLOCK or not column.keys:
                continue
            # Drawn in any case: what is left out must not change what follows.
            value, absent = _value(event, column, trace), trace.random.random() < _ABSENT_RATE
            if not (column.nullable and not column.required and absent):
                _put(fields, json_paths.steps(column.keys[0]), value)
        return fields

    return make


def _put(fields: Fields, way: tuple[str, ...], value: object) -> None:
    inner: Any = fields
    for step in way[:-1]:
        inner = inner.setdefault(step, {})
    inner[way[-1]] = value


def _value(event: EventType, column: Column, trace: Trace) -> object:
    random = trace.random
    if column.name == event.project:
        return trace.project
    values: dict[Kind, Callable[[], object]] = {
        Kind.TEXT: lambda: (
            f"{column.name}-{random.randrange(4)}"
            if column.low_cardinality
            else f"{column.name}_{random.getrandbits(64):016x}"
        ),
        Kind.CHOICE: lambda: random.choice(list(column.choices)),
        Kind.BOOLEAN: lambda: random.random() < 0.5,  # noqa: PLR2004  # a coin
        Kind.INTEGER: lambda: random.randrange(10_000),
        Kind.INTEGER32: lambda: random.randrange(1000),
        Kind.NUMBER: lambda: round(random.uniform(0, 100), 3),
        Kind.TIME: lambda: time_text(trace.end if column.name == event.table.time else trace.starts[0]),
        Kind.JSON: lambda: {"agent": trace.agent, "attempt": random.randrange(3)},
        Kind.TEXTS: lambda: [trace.agent, trace.environment],
        Kind.NUMBERS: lambda: [round(random.uniform(0, 1), 3) for _ in range(3)],
        Kind.COUNTS: lambda: [random.randrange(10) for _ in range(3)],
    }
    return values[column.kind]()
