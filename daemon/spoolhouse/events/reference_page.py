"""The reference of the event types as a page of Markdown."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from spoolhouse.events.declaration import EventType
from spoolhouse.events.reference import FieldReference, TypeReference, reference
from spoolhouse.events.shapes.shape import Shape
from spoolhouse.file_names import COMPRESSED, DEFAULTS

_HEAD = """\
# Event types

This page is `spoolhouse types --markdown`. A file in `{type}/{project}/` holds one JSON object a line.
`spoolhouse explain FILE` shows what becomes of the lines of a file, and why one is rejected.

- A line is flat, or has its fields in an envelope: `{"type": "span", "data": {…}}`. `type` (or `event_type`) may be
  absent: then it is the folder's. A `type` that is no event type is a field of the event.
- Keys are taken in camelCase and in snake_case. Where a line has several keys of one field, the first one counts; the
  others are kept in `extra`. So are fields that no column takes (`events.unknown`).
- A time is ISO-8601, with any precision and offset (UTC where it has none), or an epoch number in s, ms, µs or ns, also
  as text. Numbers may be text, and text may be a number. A whole number may be `12.0`, not `12.5`. Other numbers are
  doubles, and exact up to 2^53. Choices are taken in any case, also as `{"code": …}`.
- What is converted with loss is kept in `extra` as it was written. Lines with unknown fields, and those with
  conversions, are counted by field: in the log record `file_settled`, in `spoolhouse status` and in `/metrics`.
- The columns of a model call are read from `attributes`: `gen_ai.*` of OpenTelemetry, `llm.*` of OpenInference, and of
  Mastra's spans `model`, `provider`, `usage` and `costContext`.
- A type that a file in `events.folder` declares is told by its folder, or by its `type`; its fields have any paths.
- `null` is absence, and so is an empty id, where a row is told by it. **Required** is what cannot be derived: without
  it the line is rejected.
- Hourly figures count lines, of traces and spans those that have an end: one that is written at its start, at updates
  and at its end is counted once. A root span of a foreign shape makes a row of `traces`, which counts in
  the same way. One of ours does so with `events.traces_from_root_spans`, and then a `trace` line does not count.

Files are named {names}, in any case, each also with
{endings} after it (`spool.names`).

Tables have the prefix `clickhouse.table_prefix`, by default `mastra_admin_`. Each also has `ingested_at`, `batch_id`.
"""
_SHAPES = """
## Lines as other programs write them

They are told by their keys, whatever their folder, unless folders are named. What no column takes is kept.

| shape | told by one of | in the folders | |
|---|---|---|---|
"""


def as_markdown(events: Mapping[str, EventType], shapes: Sequence[Shape]) -> str:
    """Return the page of these event types and foreign shapes.

    Types that differ in their names alone share a section.
    """
    head = _HEAD.replace("{names}", _listed(DEFAULTS.split())).replace("{endings}", _listed(COMPRESSED))
    lines = [head.rstrip("\n")]
    kinds = [reference(event) for event in events.values()]
    for _, group in groupby(sorted(kinds, key=lambda kind: _order(kinds, kind)), key=_what):
        lines += _section(list(group))
    if shapes:
        lines.append(_SHAPES.rstrip("\n"))
        lines += [
            f"| {one.name} | {_listed(sorted(one.keys))} | {_listed(sorted(one.folders)) or 'all'} | {one.about} |"
            for one in shapes
        ]
        lines += [row for one in shapes for row in _becomes(one)]
    return "\n".join(lines) + "\n"


def _what(kind: TypeReference) -> str:
    """Return what types have in common that are described together: all but their names."""
    return repr((kind.tables, kind.fields, kind.arrays, kind.needs))


def _order(kinds: Sequence[TypeReference], kind: TypeReference) -> int:
    return next(place for place, one in enumerate(kinds) if _what(one) == _what(kind))


def _section(kinds: Sequence[TypeReference]) -> Iterator[str]:
    first = kinds[0]
    yield f"\n## {', '.join(kind.name for kind in kinds)}\n"
    own, *others = (f"`{table}`" for table in first.tables)
    more = f", and rows of {' and '.join(others)}" if others else ""
    needs = f" At least one of {_listed(first.needs)} is required." if first.needs else ""
    yield f"A row of {own}{more}, kept for {first.ttl_days} days.{needs}\n"
    yield "```json"
    yield from (json.dumps(kind.example, ensure_ascii=False) for kind in kinds)
    yield "```\n"
    yield "| field | also | value | absent | column |"
    yield "|---|---|---|---|---|"
    yield from (_row(field, "") for field in first.fields)
    for array in first.arrays:
        yield from (_row(field, f"{array.key}[].", f"{array.table}.") for field in array.fields)
    yield from (f"| | | | {meaning} | `{column}` |" for column, meaning in first.filled.items())
    named = [field for field in first.fields if field.names]
    if named:
        yield "\nOther names of choices:\n"
    for field in named:
        for choice in field.choices:
            if names := [name or '""' for name, meant in field.names.items() if meant == choice]:
                yield f"- `{field.key}` {choice}: {', '.join(names)}"
            if implied := [key for key, meant in field.implied.items() if meant == choice]:
                yield f"- no `{field.key}`, and an object under one of {_listed(implied)}: {choice}"


def _becomes(shape: Shape) -> Iterator[str]:
    """Yield the section of a shape."""
    yield f"\n### {shape.name}\n"
    yield "| in a line | becomes |"
    yield "|---|---|"
    yield from (f"| {given} | {made} |" for given, made in shape.becomes.items())


def _row(field: FieldReference, inside: str, table: str = "") -> str:
    choices = f": {_listed(field.choices)}" if field.choices else ""
    absent = "**required**" if field.required else field.absent
    columns = _listed(f"{table}{column}" for column in field.columns)
    return f"| `{inside}{field.key}` | {_listed(field.also)} | {field.value}{choices} | {absent} | {columns} |"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
