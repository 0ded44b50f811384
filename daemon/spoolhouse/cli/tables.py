"""`spoolhouse tables`: lists the tables with their sizes and times."""

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import to_builtins

from spoolhouse.cli import flags

if TYPE_CHECKING:
    from spoolhouse.settings import Settings
    from spoolhouse.store.table_size import TableSize

_EPILOG = """\
Rows are those on the disk: a new version of an event counts beside the old one
(ClickHouse merges the two later). Times are UTC.

examples:
  spoolhouse tables --clickhouse-url http://localhost:8123
  spoolhouse tables --json | jq '.[] | select(.rows > 0) | .table'
  spoolhouse tables --check

exit codes:
   0  done
   1  with --check: a table or view is missing
  69  the store is unavailable
  78  a wrong setting
"""

_HEAD = ("table", "engine", "rows", "on disk", "oldest", "newest")
_RIGHT = ("rows", "on disk")
_MISSING = "missing"
_UNITS = {"minute": len("2026-01-31 12:00"), "day": len("2026-01-31")}
_NONE = "-"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tables",
        usage="spoolhouse tables [--json] [--check] [options]",
        help="list the tables: engine, rows, size, oldest and newest event",
        description="List our tables: engine, rows, bytes on disk, oldest and newest event.",
        epilog=_EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print an array of objects, sizes in bytes")
    parser.add_argument("--check", action="store_true", help="exit 1 if a table or view is missing, and name it")
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the list; return the exit code."""
    settings = flags.settings(options)
    rows = asyncio.run(_sizes(settings))
    if options.json:
        print(json.dumps([to_builtins(row) for row in rows], indent=2))
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        sys.stdout.writelines(f"{line}\n" for line in _fitting(rows, settings.clickhouse.table_prefix, width))
        if all(row.engine is None for row in rows):
            print("None of them exists: `spoolhouse migrate` creates them.", file=sys.stderr)
    missing = [row.table for row in rows if row.engine is None]
    if options.check and missing:
        print(f"missing: {', '.join(missing)}; `spoolhouse migrate` creates them", file=sys.stderr)
        return 1
    return 0


async def _sizes(settings: "Settings") -> "list[TableSize]":
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of this

    if settings.store.path is not None:
        from spoolhouse.service.duckdb import open_database, tables_of  # noqa: PLC0415  # nor this
        from spoolhouse.store.duckdb.table_sizes import table_sizes as sizes_in_file  # noqa: PLC0415  # nor this

        database, declared = open_database(settings, settings.store.path), tables_of(load(settings.events))
        try:
            return await database.run(partial(sizes_in_file, tables=declared, prefix=settings.clickhouse.table_prefix))
        finally:
            await database.close()
    from spoolhouse.service.clickhouse import open_driver, schema_of  # noqa: PLC0415  # nor this
    from spoolhouse.store.clickhouse.table_sizes import table_sizes  # noqa: PLC0415  # nor this

    # Our database may be missing, and a connection to a missing one fails.
    driver = open_driver(settings, database="default")
    try:
        return await table_sizes(schema_of(settings, load(settings.events)), driver)
    finally:
        await driver.close()


def _fitting(rows: "Iterable[TableSize]", prefix: str, width: int | None) -> list[str]:
    """Return the list in the widest form that fits into `width` columns, or else the narrowest."""
    whole = [_HEAD, *(_cells(row) for row in rows)]
    forms = [whole]
    if width is not None:
        head = f"table {prefix}…" if prefix else "table"
        short = [(head if row is whole[0] else row[0].removeprefix(prefix), *row[1:]) for row in whole]
        forms += [
            [(*row[:4], *(_cut(time, "minute") for time in row[4:])) for row in short],
            # Without the engine; a missing table is marked in the column of its rows.
            [(row[0], "missing" if row[1] == _MISSING else row[2], row[3], *row[4:]) for row in short],
        ]
        forms += [
            [(*row[:3], *(_cut(time, unit) for time in row[3:])) for row in forms[2]] for unit in ("minute", "day")
        ]
    laid_out = [_lines(form) for form in forms]
    fitting = (lines for lines in laid_out if width is None or max(map(len, lines)) <= width)
    return next(fitting, laid_out[-1])


def _cut(time: str, unit: str) -> str:
    """Return a time down to a unit; any other text is returned as it is."""
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


def _cells(row: "TableSize") -> tuple[str, ...]:
    from rich.filesize import decimal  # noqa: PLC0415  # --help needs none of it

    return (
        row.table,
        row.engine or _MISSING,
        _NONE if row.rows is None else f"{row.rows:,}",
        _NONE if row.bytes_on_disk is None else decimal(row.bytes_on_disk),
        row.oldest or _NONE,
        row.newest or _NONE,
    )
