"""Tables, rows and pieces for the drivers' tests. The DDL is written here anew: `schema/` is judged elsewhere."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

import msgspec

from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Column, Kind, Table
from spoolhouse.store.clickhouse.driver import RowsInsert

CLOCK_MS = 1_769_860_800_250
"""2026-01-31 12:00:00.250 UTC."""
MONTHS = ("2025-10", "2025-11", "2025-12", "2026-01")

TYPES: Mapping[Kind, str] = {
    Kind.TEXT: "String",
    Kind.SCALAR: "String",
    Kind.ANY: "String",
    Kind.BOOLEAN: "Bool",
    Kind.INTEGER: "Int64",
    Kind.INTEGER32: "Int32",
    Kind.NUMBER: "Float64",
    Kind.TIME: "DateTime64(3, 'UTC')",
    Kind.JSON: "String",
    Kind.NUMBERS: "Array(Float64)",
    Kind.COUNTS: "Array(UInt64)",
    Kind.TEXTS: "Array(String)",
}


def column_type(column: Column) -> str:
    """Return the type of the table's column."""
    stored = TYPES.get(column.kind, "")
    if column.kind is Kind.CHOICE:
        escaped = {name.replace("\\", r"\\").replace("'", r"\'"): number for name, number in column.choices.items()}
        stored = "Enum8(" + ", ".join(f"'{name}' = {number}" for name, number in escaped.items()) + ")"
    if column.nullable:
        stored = f"Nullable({stored})"
    return f"LowCardinality({stored})" if column.low_cardinality else stored


def create_table(table: Table, name: str) -> str:
    """Return the DDL of a table for `table`'s rows, one that deduplicates by token."""
    columns = [f"`{column.name}` {column_type(column)}" for column in table.columns]
    columns += ["ingested_at DateTime64(3, 'UTC')", "batch_id LowCardinality(String)"]
    return (
        f"CREATE TABLE {name} ({', '.join(columns)}) ENGINE = ReplacingMergeTree "
        f"PARTITION BY toYYYYMM({table.time}) ORDER BY ({', '.join(table.order_by)}) "
        "SETTINGS non_replicated_deduplication_window = 10000"
    )


def create_rollup(source: str, target: str, key: str, time: str) -> tuple[str, str]:
    """Return the DDL of a rollup of `source`, its target and the view that fills it; it counts lines per `key`."""
    table = (
        f"CREATE TABLE {target} (key String, month UInt32, lines SimpleAggregateFunction(sum, UInt64)) "
        "ENGINE = AggregatingMergeTree PARTITION BY month ORDER BY key "
        "SETTINGS non_replicated_deduplication_window = 10000"
    )
    view = (
        f"CREATE MATERIALIZED VIEW {target}_view TO {target} AS "
        f"SELECT {key} AS key, toYYYYMM({time}) AS month, count() AS lines FROM {source} GROUP BY key, month"
    )
    return table, view


def insert_of(table: Table, name: str, batch_id: str) -> RowsInsert:
    """Return the insert of a batch."""
    return RowsInsert(table=name, columns=table.columns, batch_id=batch_id, token=batch_id, clock_ms=CLOCK_MS)


def log_line(number: int) -> bytes:
    """Return the canonical row of one log; the numbers spread over four months."""
    time = f"{MONTHS[number % 4]}-{1 + number % 28:02}T08:30:{number % 60:02}.{number % 1000:03}Z"
    return (
        f'["log-{number}","project-{number % 7}","dep",null,"span-{number}","info","the message of {number}",'
        f'"{time}","{{\\"n\\": {number}}}","{time}","{{}}"]\n'
    ).encode()


def log_pieces(count: int, *, first: int = 0, per_piece: int = 1000) -> list[Rows]:
    """Return the rows of `count` logs, cut into pieces."""
    return [
        Rows(data=b"".join(map(log_line, range(start, min(start + per_piece, first + count)))), count=per_piece)
        for start in range(first, first + count, per_piece)
    ]


def encoded(rows: Sequence[Sequence[object]]) -> Rows:
    """Return rows as canonical bytes."""
    return Rows(data=msgspec.json.Encoder().encode_lines(rows), count=len(rows))


async def stream(pieces: Iterable[Rows]) -> AsyncGenerator[Rows]:
    """Yield pieces as a batch does."""
    for piece in pieces:
        yield piece
