"""`spoolhouse copy`: copies events from a DuckDB file into another store."""

import argparse
import asyncio
import shlex
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from spoolhouse.cli import flags
from spoolhouse.cli.words import counted
from spoolhouse.errors import BadSettingError, OperatorError, UnfinishedError

if TYPE_CHECKING:
    from spoolhouse.decode.rows import Rows
    from spoolhouse.events.declaration import Table
    from spoolhouse.service.backend import Backend
    from spoolhouse.settings import Settings
    from spoolhouse.store.duckdb.copying import Copy, Copying, Selection
    from spoolhouse.store.duckdb.database import Database

_EPILOG = """\
Each row is copied once, however often the command is run, or killed: run it
again to go on, or to copy what has landed since. The daemon that has the file
must be stopped; events that another daemon lands in the target are not in the
way. A table of the file, `copies`, says which rows go together. Days are those
of the events, in UTC.

The daemon must have ended with exit code 0: what it left unfinished would land
in the target again, with the next daemon. Where it was killed, let one more
(`ingest --once`) finish in the file first. If the spool is known
(--file-storage-path, or the settings), `copy` checks its folder, and refuses to
copy before that. It cannot know of a spool that is not named, or on another
machine, nor of work that a daemon which lands elsewhere has taken over.

Deletions are not copied, nor is the ledger: the table that says which lines of
which file each row came from. In the target rows are in other batches: by the
old ledger `replay` would take them for lost. Without it, `replay` leaves the
files of before alone.

examples:
  spoolhouse copy --from duckdb:///var/lib/spoolhouse/events.db \\
      --to clickhouse://db:9000
  spoolhouse copy --from duckdb:///a.db --to duckdb:///b.db --project shop \\
      --since 2026-11-01 --until 2026-11-30

exit codes:
   0  all rows that were asked for are in the target
   1  the spool has unfinished work of the file; nothing was copied
  69  a store is unavailable; run the command again
  78  a wrong setting
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "copy",
        usage="spoolhouse copy --from URL --to URL [--project NAME] [options]",
        help="copy events from a DuckDB file into another store",
        description="Copy events from a DuckDB file into ClickHouse, or into another file.",
        epilog=_EPILOG,
    )
    parser.add_argument("--from", dest="source", required=True, metavar="URL", help="duckdb:///file.db")
    parser.add_argument("--to", dest="store.url", required=True, metavar="URL", help="as store.url")
    parser.add_argument("--project", metavar="NAME", help="one project (default: all)")
    parser.add_argument("--since", type=_day, default=date.min, metavar="DAY", help="the first day, as 2026-11-01")
    parser.add_argument("--until", type=_day, default=date.max, metavar="DAY", help="the last day")
    flags.add_spool(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def _day(text: str) -> date:
    """Return a day, for argparse."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-11-01") from None


def run(options: argparse.Namespace) -> int:
    """Copy; return the exit code."""
    from spoolhouse.store.duckdb.copying import Selection  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.duckdb.url import path_of  # noqa: PLC0415  # nor this

    settings = flags.settings(options)
    path = path_of(options.source)
    if settings.store.path is not None and settings.store.path.resolve() == path.resolve():
        raise BadSettingError("--from and --to name the same file")
    selection = Selection(project=options.project, since=options.since, until=options.until)
    copied = asyncio.run(_copy(settings, path, selection))
    print(
        "in the target now: "
        + (", ".join(f"{counted(rows, 'row')} of {table}" for table, rows in copied.items()) or "no rows")
    )
    return 0


async def _copy(settings: "Settings", path: Path, selection: "Selection") -> "Counter[str]":
    from spoolhouse.cli.estimate import Estimate  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.clock import now_ms  # noqa: PLC0415  # nor this
    from spoolhouse.events.declaration import tables  # noqa: PLC0415  # nor this
    from spoolhouse.events.registry import load  # noqa: PLC0415  # nor this
    from spoolhouse.service.duckdb import open_database  # noqa: PLC0415  # nor this
    from spoolhouse.service.stores import open_backend  # noqa: PLC0415  # nor this
    from spoolhouse.store.duckdb.copying import Copying  # noqa: PLC0415  # nor this

    events = load(settings.events)
    declared = tuple(tables(events).values())
    copying = Copying(selection, prefix=settings.clickhouse.table_prefix)
    copied: Counter[str] = Counter()
    source, target = open_database(settings, path), open_backend(settings, fingerprint=_FINGERPRINT)
    try:
        # First: if the source is in use, no target is made.
        await source.run(lambda connection: connection.execute("SELECT 1"))
        await _require_finished(settings, source, declared)
        refused = await target.prepare(events)
        if unsafe := await target.unsafe_tables(events, refused):
            raise OperatorError("; ".join(map(str, unsafe.values())), hint="see `spoolhouse check`")
        copies = await source.run(partial(copying.plan, tables=declared, now_ms=now_ms()))
        with Estimate("batches copied", len(copies)) as estimate:
            for copy in copies:
                copied[copy.table.name] += await _land(source, copying, copy, target)
                estimate.advance()
    finally:
        await target.close()
        await source.close()
    return copied


async def _require_finished(settings: "Settings", source: "Database", tables: "Collection[Table]") -> None:
    """Raise `UnfinishedError` if the next daemon of the spool would go on with shipments that are in the file."""
    from spoolhouse.recover.unfinished import unfinished  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.duckdb.store import DuckDbStore  # noqa: PLC0415  # nor this

    if settings.spool.storage_path is None:
        return
    spool = await asyncio.to_thread(flags.spool, settings)
    sent = DuckDbStore(source, prefix=settings.clickhouse.table_prefix)
    async for folder, shipment in unfinished(spool, sent, tables):
        url = f"duckdb://{quote(str(source.path))}"
        named = ("--store-url", url, "--file-storage-path", str(spool), "--base-path", "")
        raise UnfinishedError(
            f"{folder}: a daemon has left shipment {shipment} unfinished, and rows of it are in {source.path}: the"
            " next daemon would land them in the target again; let it finish in the file first:"
            f" {shlex.join(('spoolhouse', 'ingest', '--once', *named))}"
        )


_FINGERPRINT = "copy"
"""That of the target and of each batch are the same: a batch has the same rows whichever version copies it."""


async def _land(source: "Database", copying: "Copying", copy: "Copy", target: "Backend") -> int:
    """Land one batch, unless the target has it; return how many rows it has."""
    from spoolhouse.spool.batch import BatchToLand  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.spool.shipment import Limits, Shipment  # noqa: PLC0415  # nor this

    pieces = await source.run(partial(copying.rows, copy=copy))
    if not pieces:
        return 0  # they have expired, or were deleted
    limits = Limits(max_rows=1, max_insert_bytes=1, side_bytes=1, max_line=1, project="trust")  # nothing is cut
    # `replay`: an earlier run may have landed it.
    shipment = Shipment(
        id=copy.id,
        instance="copy",
        type=copy.table.name,
        segments=(),
        clock_ms=copy.planned_ms,
        fingerprint=_FINGERPRINT,
        limits=limits,
        replay=True,
    )
    batch = BatchToLand(
        id=f"{copy.id}:{copy.table.name}",
        table=copy.table,
        shipment=shipment,
        rows=partial(_opened, pieces),
        may_be_cut=False,
    )
    await target.store.land(batch)
    return sum(piece.count for piece in pieces)


@asynccontextmanager
async def _opened(pieces: "Collection[Rows]") -> "AsyncGenerator[AsyncIterator[Rows]]":
    async def each() -> "AsyncGenerator[Rows]":
        for piece in pieces:
            yield piece

    yield each()
