"""What comes back of a line is what was written: from its columns, and the rest from `extra`."""

import json
from datetime import datetime, timedelta
from typing import Any

from hypothesis import Phase, given, settings

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.declaration import Column, Fill, Kind, RowSource
from tests.unit.written import Line, Value, Written, default_of, lines, paths
from tests.unit.written_json_log import JsonLog, json_logs
from tests.unit.written_mastra import MastraLine, mastra_lines
from tests.unit.written_otlp import Document, documents

CLOCK = datetime.fromisoformat("2026-11-21T12:00:00Z")
DECODER = LineDecoder(BUILT_IN)
DECODER.few_bytes = 0  # also short pieces are read in bulk
PHASES = [phase for phase in Phase if phase is not Phase.explain]
"""To explain what is wrong with fifty columns takes minutes, and says little more than the line does."""

Row = dict[str, Any]


def decode(data: bytes, folder: str) -> Decoded:
    clock_ms = int(CLOCK.timestamp() * 1000)
    origin = Origin(project="folder", policy="warn", clock_ms=clock_ms, type=folder, file=f"{folder}/folder/a.jsonl")
    return DECODER.decode(Piece(offset=0, data=data), origin)


def rows(decoded: Decoded, part: RowSource) -> list[Row]:
    names = [column.name for column in part.columns]
    found = decoded.rows.get(part.table.name)
    return [dict(zip(names, json.loads(row), strict=True)) for row in found.data.splitlines()] if found else []


def says(column: Column, found: object, wanted: object) -> bool:
    """Tell whether a row's value is what was written."""
    if column.kind is Kind.TIME:
        return datetime.fromisoformat(str(found)) == wanted
    if column.kind is Kind.JSON or (column.kind is Kind.ANY and not isinstance(wanted, str)):
        return bool(json.loads(str(found)) == wanted)
    return found == wanted


def check(part: RowSource, row: Row, written: Written, outer: Written, position: int, *, has_extra: bool) -> None:
    """Compare a row with what was written: every column, also those that nothing was written for."""
    given: dict[str, Value] = {}
    for column in part.columns:
        source = outer if column.inherited else written
        # Which keys count depends on whether the line is enveloped, and each path was written for one column.
        ways = [way for way in paths(column, enveloped=True) if way in source.values]
        if ways:
            given[column.name] = source.values[ways[0]]
    for column in part.columns:
        found = row[column.name]
        if column.fill is Fill.EXTRA:
            assert json.loads(found) == (written.extra if has_extra else {}), column.name
        elif column.name in given:
            assert says(column, found, given[column.name].row), (column.name, found, given[column.name])
        elif not is_derived(column, found, given, position):
            assert found == default_of(column), (column.name, found)


def is_derived(column: Column, found: object, given: dict[str, Value], position: int) -> bool:
    """Tell whether a value that was not written is what has to be derived, if anything."""
    sources = [given.get(name) for name in column.sources]
    if column.fill is Fill.CLOCK:
        return datetime.fromisoformat(str(found)) == CLOCK
    if column.fill is Fill.LINE:
        return isinstance(found, str) and len(found) > 30
    if column.fill is Fill.ELAPSED and None not in sources:
        start, end = (source.row for source in sources if source)
        return bool(found == (end - start) / timedelta(milliseconds=1))
    if column.fill is Fill.NUMBER:
        [value] = (source.json for source in sources if source)
        return bool(found == (None if isinstance(value, str) else float(value)))
    if column.fill is Fill.POSITION:
        return found == position
    return found in BUILT_IN if column.fill is Fill.TYPE else column.name == "project_id" and found == "folder"


def compare(line: Line, decoded: Decoded) -> None:
    """Compare all rows of a line."""
    assert [(one.reason, one.field, one.detail) for one in decoded.rejects] == []
    event = BUILT_IN[line.type]
    found = {part.table.name: iter(rows(decoded, part)) for part in event.parts}
    for number, part in enumerate(event.parts):
        some = found[part.table.name]
        if part.each:
            for position, element in enumerate(line.event.elements, 1):
                check(part, next(some), element, line.event, position, has_extra=True)
        elif not part.when or any(
            way in line.event.values for way in paths(part.table.column(part.when), enveloped=True)
        ):
            check(part, next(some), line.event, line.event, 0, has_extra=number == 0)
    assert [list(some) for some in found.values()] == [[] for _ in found]


@given(lines())
@settings(max_examples=150, phases=PHASES)
def test_a_line_comes_back(line: Line) -> None:
    alone = decode(line.data, line.type)
    compare(line, alone)
    twice = decode(line.data * 2, line.type)
    for table, some in alone.rows.items():
        assert twice.rows[table].data.startswith(some.data)
        assert twice.rows[table].count == 2 * some.count
    assert (twice.unknown_lines, twice.converted_lines) == (2 * alone.unknown_lines, 2 * alone.converted_lines)
    assert bool(line.event.extra or any(one.extra for one in line.event.elements)) <= bool(
        alone.unknown or alone.converted
    )


def without_nulls(extra: Row) -> Row:
    """What is kept, but for nulls of fields that are text or booleans: those are absent."""
    return {key: value for key, value in extra.items() if value is not None or key not in ABSENT}


ABSENT = {"scorerId", "source", "userId", "isRootSpan", "isEvent"}


@given(mastra_lines())
@settings(max_examples=150, phases=PHASES)
def test_a_line_of_mastras_bus_comes_back(line: MastraLine) -> None:
    decoded = decode(line.data, "span")
    assert [(one.reason, one.field, one.detail) for one in decoded.rejects] == []
    event = BUILT_IN[line.kind.event]
    [row] = rows(decoded, event.parts[0])
    assert without_nulls(json.loads(row["extra"])) == without_nulls(line.extra)
    for name, value in line.values.items():
        column = event.column(name)
        assert says(column, row[name], value.row), (name, row[name], value)
    written = {*line.values, "recorded_at", "extra", "status", "project_id"}
    for column in event.table.columns:
        if column.name not in written and column.fill is None and column.name not in {"name", "source"}:
            assert row[column.name] == default_of(column), column.name
    traces = rows(decoded, BUILT_IN["trace"].parts[0])
    assert len(traces) == line.is_root
    for trace in traces:
        for name in ("trace_id", "name", "status", "start_time", "end_time", "duration_ms", "recorded_at"):
            assert trace[name] == row[name], name
        for name, absent in (("input", ""), ("output", ""), ("metadata", "{}")):
            found = trace[name]
            given = line.extra.get(name)
            assert found == absent if given is None else json.loads(found) == given
    assert decode(line.data * 3, "log").rows[event.table.name].count == 3


def otlp_says(column: Column, found: object, wanted: object) -> bool:
    """The same for a row of OTLP; a value without its JSON is a text that has it."""
    if column.kind is Kind.TIME and wanted is None:
        return found is None or datetime.fromisoformat(str(found)) == CLOCK
    if wanted is None:
        return found == default_of(column)
    if isinstance(wanted, Value):
        return bool(json.loads(str(found)) == wanted.row)
    return says(column, found, wanted)


@given(documents())
@settings(max_examples=60, phases=PHASES)
def test_a_document_of_otlp_comes_back(document: Document) -> None:
    decoded = decode(document.data, "log")
    assert [(one.reason, one.field, one.detail) for one in decoded.rejects] == []
    roots = []
    for kind, expected in document.rows.items():
        part = BUILT_IN[kind].parts[0]
        found = rows(decoded, part)
        assert len(found) == len(expected)
        for row, wanted in zip(found, expected, strict=True):
            assert json.loads(row["extra"]) == wanted.extra
            for column in part.columns:
                if column.name in wanted.columns:
                    assert otlp_says(column, row[column.name], wanted.columns[column.name]), (column.name, row, wanted)
                elif column.fill is None and column.name != "project_id":
                    assert row[column.name] == default_of(column), column.name
        roots += [row for row in found if kind == "span" and row["parent_span_id"] is None]
    traces = rows(decoded, BUILT_IN["trace"].parts[0])
    names = ("trace_id", "name", "status", "start_time", "end_time", "duration_ms")
    assert [[trace[name] for name in names] for trace in traces] == [[root[name] for name in names] for root in roots]
    tolerant = decode(b" " + document.data, "log")
    assert tolerant.rows == decoded.rows
    assert (tolerant.unknown, tolerant.converted) == (decoded.unknown, decoded.converted)
    for table, some in decode(document.data * 2, "log").rows.items():
        assert some.data.startswith(decoded.rows[table].data)
        assert some.count == 2 * decoded.rows[table].count


@given(json_logs())
@settings(max_examples=150, phases=PHASES)
def test_a_json_log_comes_back(line: JsonLog) -> None:
    decoded = decode(line.data, "log")
    assert [(one.reason, one.field, one.detail) for one in decoded.rejects] == []
    assert (decoded.shapes, list(decoded.rows)) == ({"json_log": 1}, ["logs"])
    part = BUILT_IN["log"].parts[0]
    [row] = rows(decoded, part)
    for name, wanted in line.columns.items():
        assert says(part.table.column(name), row[name], wanted), (name, row[name], wanted)
    assert (json.loads(row["attributes"]), row["extra"]) == (line.attributes, "{}")
    assert datetime.fromisoformat(row["recorded_at"]) == CLOCK
    assert (row["project_id"], row["deployment_id"]) == ("folder", "")
    many = rows(decode(line.data * 3, "log"), part)
    assert [one | {"id": ""} for one in many] == [row | {"id": ""}] * 3
    assert len({one["id"] for one in many}) == 3
