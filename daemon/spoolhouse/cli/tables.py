"""`spoolhouse tables`: what is there, by table."""

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from spoolhouse.cli import flags

if TYPE_CHECKING:
    from spoolhouse.settings import Settings
    from spoolhouse.store.clickhouse.driver import Driver

_EPILOG = """\
Rows are counted as they lie on the disk: a state that was delivered again
counts until ClickHouse merges it with the old one. Times are UTC.

examples:
  spoolhouse tables --clickhouse-url http://localhost:8123
  spoolhouse tables --json | jq '.[] | select(.rows > 0) | .table'
"""

_HEAD = ("table", "engine", "rows", "on disk", "oldest", "newest")
_RIGHT = ("rows", "on disk")
_MISSING = "missing"
_UNITS = {"minute": len("2026-01-31 12:00"), "day": len("2026-01-31")}
_NONE = "-"

_TABLES = """
SELECT name, engine, total_rows, total_bytes FROM system.tables
WHERE database = {database:String} AND has({names:Array(String)}, name)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One line of the list. What a view does not have, and what an empty table does not know, is None."""

    table: str
    engine: str | None
    """None: it does not exist."""
    rows: int | None = None
    bytes_on_disk: int | None = None
    oldest: str | None = None
    newest: str | None = None


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tables",
        usage="spoolhouse tables [--json] [options]",
        help="list the tables: engine, rows, size, oldest and newest event",
        description="List our tables: engine, rows, bytes on disk, oldest and newest event.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print an array of objects, sizes in bytes")
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the list; return the exit code."""
    settings = flags.settings(options)
    rows = asyncio.run(_look(settings))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        sys.stdout.writelines(f"{line}\n" for line in _fitting(rows, settings.clickhouse.table_prefix, width))
        if all(row.engine is None for row in rows):
            print("None of them exists: `spoolhouse migrate` creates them.", file=sys.stderr)
    return 0


async def _look(settings: "Settings") -> list[_Row]:
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.service.prepare import open_driver, schema_of  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.store.clickhouse.quoting import identifier  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.clickhouse.schema.ddl import qualified  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.clickhouse.schema.render import object_names  # noqa: PLC0415  # --help needs none of it

    database = settings.clickhouse.database
    schema = schema_of(settings, load(settings.events.folder))
    definitions = [event.table for event in schema.tables]
    definitions += [rollup.target for event in schema.tables for rollup in event.rollups]
    times = {
        definition.name: (qualified(database, definition.name), identifier(definition.partition_column))
        for definition in definitions
    }
    # The database itself may be missing, and nobody can connect to that.
    driver = open_driver(settings, database="default")
    try:
        names = object_names(schema)
        found = {str(row[0]): row for row in await driver.execute(_TABLES, {"database": database, "names": names})}
        return [await _row(name, found, times, driver) for name in names]
    finally:
        await driver.close()


async def _row(
    name: str, found: Mapping[str, tuple[object, ...]], times: Mapping[str, tuple[str, str]], driver: "Driver"
) -> _Row:
    if name not in found:
        return _Row(table=name, engine=None)
    _, engine, count, size = found[name]
    rows = int(str(count)) if count is not None else None
    oldest = newest = None
    if rows and name in times:
        table, column = times[name]
        # Both names are declared, and quoted.
        sql = f"SELECT toString(min({column})), toString(max({column})) FROM {table}"  # noqa: S608  # declared names
        ((oldest, newest),) = await driver.execute(sql)
    return _Row(
        table=name,
        engine=str(engine),
        rows=rows,
        bytes_on_disk=int(str(size)) if size is not None else None,
        oldest=None if oldest is None else str(oldest),
        newest=None if newest is None else str(newest),
    )


def _fitting(rows: Iterable[_Row], prefix: str, width: int | None) -> list[str]:
    """Return the list in the widest form that fits into `width` columns, or else the narrowest."""
    whole = [_HEAD, *(_cells(row) for row in rows)]
    forms = [whole]
    if width is not None:
        head = f"table {prefix}…" if prefix else "table"
        short = [(head if row is whole[0] else row[0].removeprefix(prefix), *row[1:]) for row in whole]
        forms += [
            [(*row[:4], *(_cut(time, "minute") for time in row[4:])) for row in short],
            # Without the engine; that a table is missing stands in place of its rows.
            [(row[0], "missing" if row[1] == _MISSING else row[2], row[3], *row[4:]) for row in short],
        ]
        forms += [
            [(*row[:3], *(_cut(time, unit) for time in row[3:])) for row in forms[2]] for unit in ("minute", "day")
        ]
    laid_out = [_lines(form) for form in forms]
    fitting = (lines for lines in laid_out if width is None or max(map(len, lines)) <= width)
    return next(fitting, laid_out[-1])


def _cut(time: str, unit: str) -> str:
    """Return a time without what is finer than a unit; what is no time stays."""
    return time[: _UNITS[unit]] if time[:1].isdigit() else time


def _lines(cells: list[tuple[str, ...]]) -> list[str]:
    columns = range(len(cells[0]))
    widths = [max(len(row[column]) for row in cells) for column in columns]
    right = {cells[0].index(name) for name in _RIGHT}
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _cells(row: _Row) -> tuple[str, ...]:
    from rich.filesize import decimal  # noqa: PLC0415  # --help needs none of it

    return (
        row.table,
        row.engine or _MISSING,
        _NONE if row.rows is None else f"{row.rows:,}",
        _NONE if row.bytes_on_disk is None else decimal(row.bytes_on_disk),
        row.oldest or _NONE,
        row.newest or _NONE,
    )
