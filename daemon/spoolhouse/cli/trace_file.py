"""`spoolhouse trace-file`: shows which rows came from a file, or which files a batch came from."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import to_builtins

from spoolhouse.cli import flags
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from spoolhouse.recover.ports import LedgerRow
    from spoolhouse.settings import Settings

_EPILOG = """\
Every row carries the id of the batch that brought it. The ledger table holds
the files and byte ranges of each batch, also of files that are deleted by now.
Bytes of a compressed file are those of its uncompressed content.

examples:
  spoolhouse trace-file /var/spool/observability/span/shop/processed/a.jsonl
  spoolhouse trace-file --batch 7f8…-…:spans --json
  SELECT * FROM mastra_admin_spans WHERE batch_id = '7f8…-…:spans'

exit codes:
   0  found
   1  not in the ledger
  69  the store is unavailable
  78  a wrong setting, or no file of the spool
"""
_HEAD = ("file", "bytes", "table", "rows", "row numbers", "batch")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "trace-file",
        usage="spoolhouse trace-file (PATH | --batch ID) [--json] [options]",
        help="show which rows came from a file, or which files a batch came from",
        description="Show which rows came from a file, or which files a batch came from.",
        epilog=_EPILOG,
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "path", nargs="?", type=Path, metavar="PATH", help="a file of the spool; it may be deleted by now"
    )
    which.add_argument("--batch", metavar="ID", help="the batch_id of a row")
    parser.add_argument("--json", action="store_true", help="print an array of objects")
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the ledger's rows; return the exit code."""
    ledger = asyncio.run(_ledger(flags.settings(options), options.path, options.batch))
    if options.json:
        print(json.dumps([to_builtins(line) for line in ledger], indent=2))
    elif ledger:
        sys.stdout.writelines(f"{line}\n" for line in _lines(ledger))
    else:
        print("The ledger does not know it.", file=sys.stderr)
    return 0 if ledger else 1


async def _ledger(settings: "Settings", path: Path | None, batch: str | None) -> "list[LedgerRow]":
    from spoolhouse.cli.recovery import open_files, open_store  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.spool.row_ranges import whole_of  # noqa: PLC0415  # nor this

    if path is not None:
        async with open_files(settings) as files:
            return await files.trace(path)
    async with open_store(settings) as store:
        return await store.ledger_of_batch(whole_of(batch or ""))


def _lines(ledger: "list[LedgerRow]") -> list[str]:
    cells = [_HEAD, *(tuple(map(shown, _cells(line))) for line in ledger)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cells(line: "LedgerRow") -> tuple[str, ...]:
    if not line.rows:
        return line.file, f"{line.start} to {line.end}" if line.end else "-", "-", "0", "-", "-"
    numbers = f"{line.first} to {line.first + line.rows - 1}"
    return line.file, f"{line.start} to {line.end}", line.table, str(line.rows), numbers, line.batch
