"""`spoolhouse trace-file`: which rows came from a file, and which files a batch came from."""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from spoolhouse.settings import Settings
    from spoolhouse.store.clickhouse.landing.ledger_read import Traced

_EPILOG = """\
Every row carries the id of the batch that brought it; the ledger table knows
which bytes of which files a batch was made of, also when a file is long gone.
Bytes of a compressed file are counted in what it holds.

examples:
  spoolhouse trace-file /var/spool/events/span/shop/processed/a.jsonl
  spoolhouse trace-file --batch 7f8…-…:spans --json
  SELECT * FROM mastra_admin_spans WHERE batch_id = '7f8…-…:spans'

exit codes:
   0  found
   1  the ledger does not know it
  69  ClickHouse is unavailable
  78  a wrong setting, or no file of the spool
"""
_HEAD = ("file", "bytes", "table", "rows", "row numbers", "batch")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "trace-file",
        usage="spoolhouse trace-file (PATH | --batch ID) [--json] [options]",
        help="say which rows came from a file, or which files a batch came from",
        description="Say which rows came from a file, or which files a batch came from.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("path", nargs="?", type=Path, metavar="PATH", help="a file of the spool, there or gone")
    which.add_argument("--batch", metavar="ID", help="what a row has as its batch_id")
    parser.add_argument("--json", action="store_true", help="print an array of objects")
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what the ledger says; return the exit code."""
    traced = asyncio.run(_look(flags.settings(options), options.path, options.batch))
    if options.json:
        print(json.dumps([asdict(line) for line in traced], indent=2))
    elif traced:
        sys.stdout.writelines(f"{line}\n" for line in _lines(traced))
    else:
        print("The ledger does not know it.", file=sys.stderr)
    return 0 if traced else 1


async def _look(settings: "Settings", path: Path | None, batch: str | None) -> "list[Traced]":
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.recover.processed_files import archive  # noqa: PLC0415  # nor this
    from spoolhouse.service.prepare import open_driver  # noqa: PLC0415  # nor this
    from spoolhouse.spool.row_ranges import whole_of  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.clickhouse.landing.ledger_read import of_batch  # noqa: PLC0415  # nor this

    driver = open_driver(settings)
    try:
        if path is not None:
            return await archive(settings, driver, load(settings.events.folder)).trace(path)
        return await of_batch(driver, whole_of(batch or ""), prefix=settings.clickhouse.table_prefix)
    finally:
        await driver.close()


def _lines(traced: "list[Traced]") -> list[str]:
    cells = [_HEAD, *(tuple(map(shown, _cells(line))) for line in traced)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cells(line: "Traced") -> tuple[str, ...]:
    if not line.rows:
        return line.file, f"{line.start} to {line.end}" if line.end else "-", "-", "0", "-", "-"
    numbers = f"{line.first} to {line.first + line.rows - 1}"
    return line.file, f"{line.start} to {line.end}", line.table, str(line.rows), numbers, line.batch
